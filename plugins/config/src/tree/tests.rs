use super::*;

/// What is wrong with a document, as `line:column: path: message`.
fn flaws(text: &str) -> Vec<String> {
    let (_, flaws) = parse(Path::new(""), text);
    flaws.iter().map(|flaw| flaw.to_string()[1..].to_owned()).collect()
}

/// A tree in one line, each node behind its place.
fn show(node: &Node) -> String {
    let what = match &node.kind {
        NodeKind::Scalar { text, plain: true } => text.clone(),
        NodeKind::Scalar { text, plain: false } => format!("{text:?}"),
        NodeKind::Sequence(items) => {
            format!("[{}]", items.iter().map(|item| show(item)).collect::<Vec<_>>().join(" "))
        }
        NodeKind::Mapping(entries) => {
            let show = |e: &Entry| format!("{}={}:{}", e.key_at, e.key, show(&e.value));
            format!("{{{}}}", entries.iter().map(show).collect::<Vec<_>>().join(" "))
        }
    };
    format!("{}={what}", node.at)
}

fn tree(text: &str) -> String {
    let (root, flaws) = parse(Path::new(""), text);
    assert!(flaws.is_empty(), "{flaws:?}");
    show(&root.unwrap())
}

#[test]
fn every_node_knows_its_place() {
    assert_eq!(
        tree("# a comment\na: 1\nb:\n  - \"x\"\n  - {c: d, e: [f]}\n"),
        "2:1={2:1=a:2:4=1 3:1=b:4:3=[4:5=\"x\" 5:5={5:6=c:5:9=d 5:12=e:5:15=[5:16=f]}]}"
    );
}

#[test]
fn a_value_that_is_not_there_stands_at_its_key() {
    assert_eq!(tree("a:\nbcd:\n\n\ne: 1\n"), "1:1={1:1=a:1:1= 2:1=bcd:2:1= 5:1=e:5:4=1}");
}

#[test]
fn columns_count_characters_and_a_byte_order_mark_none() {
    assert_eq!(tree("\u{feff}{\"ä\": ö}"), "1:1={1:2=ä:1:7=ö}");
    assert_eq!(tree("a: 1\r\nb: 2\r\n"), "1:1={1:1=a:1:4=1 2:1=b:2:4=2}");
}

#[test]
fn an_empty_document_is_an_empty_mapping() {
    assert_eq!(tree(""), "1:1={}");
    assert_eq!(tree("# nothing\n"), "1:1={}");
}

#[test]
fn an_alias_is_what_it_stands_for_at_that_place() {
    assert_eq!(tree("a: &x [1]\nb: *x\n"), "1:1={1:1=a:1:4=[1:8=1] 2:1=b:1:4=[1:8=1]}");
}

#[test]
fn keys_given_twice() {
    assert_eq!(
        flaws("a: 1\nb:\n  c: 1\n  d: {}\n  c: 2\na: {x: 1}\n"),
        [
            "5:3: b.c: this key is given twice; the first one stands at 3:3",
            "6:1: a: this key is given twice; the first one stands at 1:1",
        ]
    );
    assert!(flaws("- {a: 1}\n- {a: 1}\n").is_empty());
}

#[test]
fn a_second_document() {
    assert_eq!(
        flaws("---\na: 1\n---\nb: 1\n"),
        ["3:1: document: a second document begins here; only one may stand in a file"]
    );
    assert!(flaws("---\na: 1\n...\n").is_empty());
}

#[test]
fn broken_syntax() {
    for (text, start) in [
        ("a: [1, 2\nb: 1\n", "2:2: a[1]: "),
        ("a: \"x\n", "1:4: "),
        ("a: b: c\n", "1:5: "),
        ("a: *unknown\n", "1:4: "),
        ("a:\n\t- b\n", "2:1: "),
        ("a: 1\n  b: 2\n", "2:4: "),
        ("@\n", "1:1: "),
    ] {
        let found = flaws(text);
        let whole = found.len() == 1 && found[0].contains("this is not YAML");
        assert!(whole && found[0].starts_with(start), "{text:?}: {found:?}");
        assert!(parse(Path::new(""), text).0.is_none());
    }
}

#[test]
fn what_is_not_supported() {
    assert_eq!(
        flaws("a: &x {b: 1}\nc:\n  <<: *x\n  d: 1\n"),
        ["3:3: c.<<: merge keys (`<<`) are not supported; write the keys out"]
    );
    assert_eq!(flaws("a: !!str 1\n"), ["1:4: a: tags (`!…`) are not supported; leave it out"]);
    assert_eq!(
        flaws("? [a]\n: b\n"),
        ["1:3: document: a key must be text, not a list or a mapping"]
    );
    assert_eq!(
        flaws("a: &x 1\n*x : 2\n"),
        ["2:1: document: a key must be written out; an alias cannot stand for it"]
    );
}

#[test]
fn bounds() {
    let deep = format!("{}{}", "[".repeat(33), "]".repeat(33));
    let found = flaws(&deep);
    assert!(found[0].starts_with("1:33: [0]"), "{found:?}");
    assert!(found[0].ends_with("is nested more than 32 levels deep"), "{found:?}");
    // Far deeper than any stack.
    assert_eq!(flaws(&"[".repeat(1_000_000)).len(), 1);
    assert_eq!(flaws(&"{a: ".repeat(1_000_000)).len(), 1);

    assert_eq!(
        flaws("a: &x [1, *x]\n"),
        ["1:11: a[1]: this alias stands inside of what it stands for"]
    );
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..10 {
        let items = vec![format!("*a{}", level - 1); 10].join(",");
        bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    let found = flaws(&bomb);
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("the aliases up to here stand for more than"), "{found:?}");
}

#[test]
fn what_a_scalar_is() {
    let describe = |text: &str| parse(Path::new(""), text).0.unwrap().describe();
    for number in ["1", "-1", "+1", "0012", "0x1F", "0o17", "1.5", ".5", "1e3", ".inf", "-.Inf"] {
        assert_eq!(describe(number), "a number", "{number}");
    }
    for text in ["off", "yes", "inf", "nan", "1a", "0x", "1.2.3", "\"1\"", "'true'", "x", "."] {
        assert_eq!(describe(text), "text", "{text}");
    }
    for word in ["true", "False"] {
        assert_eq!(describe(word), "true or false", "{word}");
    }
    for nothing in ["~", "null"] {
        assert_eq!(describe(nothing), "nothing", "{nothing}");
    }
}

#[test]
fn a_key_given_twice_is_found_in_a_large_mapping_too() {
    let mut text: String = (0..100).map(|n| format!("k{n}: {n}\n")).collect();
    text.push_str("k99: x\nk3: x\nk100: x\nk100: x\n");
    assert_eq!(
        flaws(&text),
        [
            "101:1: k99: this key is given twice; the first one stands at 100:1",
            "102:1: k3: this key is given twice; the first one stands at 4:1",
            "104:1: k100: this key is given twice; the first one stands at 103:1",
        ]
    );
}
