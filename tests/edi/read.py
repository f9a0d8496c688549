"""Prints what pyx12 or pydifact finds in a file: a line of JSON, or nothing if they refuse it.

read.py (x12|edifact) FILE
"""

import json
import sys


def of_x12(path):
    import pyx12.x12file

    found = {"interchanges": [], "groups": [], "documents": []}
    with open(path, newline="", encoding="latin-1") as file:
        for segment in pyx12.x12file.X12Reader(file):
            match segment.get_seg_id():
                case "ISA":
                    found["interchanges"].append(segment.get_value("ISA13"))
                case "GS":
                    found["groups"].append([segment.get_value("GS01"), segment.get_value("GS06")])
                case "ST":
                    found["documents"].append([segment.get_value("ST01"), segment.get_value("ST02")])
    return found


def of_edifact(path):
    from pydifact.segmentcollection import RawSegmentCollection

    def first(element):
        return element if isinstance(element, str) else element[0]

    found = {"interchanges": [], "groups": [], "documents": []}
    with open(path, newline="", encoding="latin-1") as file:
        text = file.read()
    for segment in RawSegmentCollection.from_str(text).segments:
        elements = segment.elements
        match segment.tag:
            case "UNB":
                found["interchanges"].append(first(elements[4]))
            case "UIB":
                found["interchanges"].append(first(elements[1]))
            case "UNG":
                found["groups"].append([first(elements[0]), first(elements[4])])
            case "UNH":
                found["documents"].append([first(elements[1]), first(elements[0])])
            case "UIH":
                found["documents"].append([first(elements[0]), first(elements[1])])
    return found


def main():
    standard, path = sys.argv[1:]
    try:
        found = of_x12(path) if standard == "x12" else of_edifact(path)
    except Exception as refusal:  # Each library has errors of its own.
        print(f"{path}: {type(refusal).__name__}: {refusal}", file=sys.stderr)
        return
    if found["interchanges"]:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
