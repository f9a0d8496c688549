//! Files that are made to cost much: they take constant memory, and time by their length.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it measured"
)]

mod support;

use std::{fs, iter, time::Duration};

use as2hook_edi::{AckStatus, Edi, EventLists, Scanner};
use support::isa;

const MIB: usize = 1 << 20;
/// A scanner's 64 KiB, its event's lists, and what an allocator keeps.
const MOST: u64 = 2 << 20;

/// Of `/proc/self/status`, in bytes.
fn memory(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

/// Of this thread.
fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

/// The event, and by how much the process grew at its peak.
fn scan(what: &str, pieces: impl Iterator<Item = Vec<u8>>) -> (Option<Edi>, EventLists) {
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let begin = processor_time();
    let before = memory("VmRSS:");
    let (mut scanner, mut lists) = (Scanner::new(), EventLists::default());
    for piece in pieces {
        scanner.push(&piece, &mut lists);
    }
    let result = (scanner.finish(&mut lists), lists);
    let grown = memory("VmHWM:").saturating_sub(before);
    println!("{what}: {grown} bytes, {:?}", processor_time() - begin);
    assert!(grown <= MOST, "{what} took {grown} bytes");
    result
}

/// So many times the same, in pieces of about 64 KiB.
fn repeated(begin: &str, part: &str, count: usize) -> impl Iterator<Item = Vec<u8>> {
    let each = (64 * 1024 / part.len()).max(1);
    let pieces = iter::repeat_n(part.repeat(each), count / each);
    let rest = part.repeat(count % each);
    iter::once(begin.to_owned()).chain(pieces).chain([rest]).map(String::into_bytes)
}

/// One test, since others in the same process would be measured with it.
#[test]
fn hostile_file_takes_constant_memory() {
    let isa_1 = isa('*', '>', "~", 1);
    let group = format!("GS*PO*{:0>80}*B*20261115*0930*1*X*004010~ST*850*1~", 1);
    let (edi, lists) = scan("a million groups", repeated(&isa_1, &group, 1_000_000));
    let json = serde_json::to_string(&edi).unwrap();
    let interchange = &edi.unwrap().interchanges[0];
    assert_eq!((interchange.group_count, interchange.document_count), (1_000_000, 1_000_000));
    assert!(interchange.groups.len() <= 1_000 && interchange.warnings.len() == 100);
    assert_eq!(interchange.warning_count, Some(1_999_998));
    assert!(json.len() <= EventLists::ROOM + 100, "{}", json.len());
    assert_eq!(lists.ack_count(), 0);

    let (edi, _) = scan("interchanges", repeated("", &isa_1, 200_000));
    let edi = edi.unwrap();
    assert_eq!((edi.interchanges.len(), edi.interchange_count), (100, 200_000));

    let ack = format!("TA1*{:0>300}*261115*0930*A*000~TA1*2*261115*0930*R*001~", 1);
    let (_, lists) = scan("acknowledgements", repeated(&isa_1, &ack, 20_000));
    assert_eq!(lists.ack_count(), 40_000);
    let acks = lists.into_acks();
    assert!(serde_json::to_string(&acks).unwrap().len() <= EventLists::ACK_ROOM);
    assert!(acks.iter().all(|ack| ack.status == Some(AckStatus::Rejected)));

    let begin = format!("{isa_1}ST*997*1~AK1*PO*1~");
    let document = format!("AK2*850*1~AK5*A*{:0>300}~AK2*850*2~AK5*R*5~", 1);
    scan("documents of one acknowledgement", repeated(&begin, &document, 20_000));

    for (what, begin) in [
        ("endless ISA", "ISA*"),
        ("endless field", "ISA*00*"),
        ("endless UNB", "UNB+UNOA:1+"),
        ("endless UNH", "UNB+UNOA:1+A+B+261115:0930+1'UNH+"),
        ("endless guess", "UNB|UNOA^1|"),
        ("endless root", "<Order "),
        ("endless name", "<"),
        ("endless declaration", "<?xml "),
        ("endless garbage", ""),
    ] {
        scan(what, iter::once(begin.into()).chain(iter::repeat_n(vec![b'x'; MIB], 20)));
    }
    for (what, begin, part) in [
        ("elements", "<a>", "<a>"),
        ("namespaces", "<a>", "<a xmlns:b='c'>"),
        ("attributes", "<a ", "b='c' "),
        ("comments", "<a>", "<!-- <a> -->"),
        ("parties", "UNB+", "+:"),
        ("headers", "", "ISA*"),
        ("headers of other separators", "", "ISA*ISA+ISA-ISA/"),
        ("headers within", &*isa_1, "ISA*~"),
        ("odd headers", "", "UNB|UNOA^1~"),
        ("announced headers", "", "UNA:+.? '"),
        ("released", "UNB+UNOA:1+", "??"),
        ("blanks", "", "  "),
        ("terminators", &*isa_1, "~"),
    ] {
        let piece = part.repeat(64 * 1024 / part.len()).into_bytes();
        scan(what, iter::once(begin.into()).chain(iter::repeat_n(piece, 64)));
    }
}

#[test]
fn types_of_documents_are_counted_within_their_room() {
    let (mut scanner, mut lists) = (Scanner::new(), EventLists::default());
    scanner.push(isa('*', '>', "~", 1).as_bytes(), &mut lists);
    for n in 0..10_000 {
        scanner.push(format!("ST*{n:0>200}*1~SE*2*1~").as_bytes(), &mut lists);
    }
    scanner.finish(&mut lists);
    let counts = lists.document_counts();
    assert!(!counts.is_empty() && counts.len() < 100, "{}", counts.len());
    assert!(serde_json::to_vec(counts).unwrap().len() <= 8 * 1024);
}
