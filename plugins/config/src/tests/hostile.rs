//! Files that are broken in any way are reported, and do no other harm.

use super::*;

/// Bytes that mean something in YAML, and some that mean nothing.
const BYTES: &[u8] = b"\0\t\n\r !\"#$%&'*,-.:;<>?@[]`{|}~\xc3\xa4\xffab01";

/// A document with a few bytes changed, left out, put in, doubled or moved.
fn broken(text: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut text = text.to_vec();
    for _ in 0..random.usize(1..6) {
        let at = random.usize(..text.len());
        let byte = BYTES[random.usize(..BYTES.len())];
        match random.u8(..5) {
            0 => text[at] = byte,
            1 => text.insert(at, byte),
            2 => text.truncate(at.max(1)),
            3 => {
                text.remove(at);
            }
            _ => {
                let to = (at + random.usize(..40)).min(text.len());
                let piece = text[at..to].to_vec();
                let into = random.usize(..=text.len());
                text.splice(into..into, piece);
            }
        }
        if text.is_empty() {
            text.push(byte);
        }
    }
    text
}

#[test]
fn a_broken_file_gives_mistakes_of_one_line_each() {
    const GATEWAY: &[u8] = b"site: main\nreceiver: { url: [\"http://127.0.0.1:1\"], keepalive: off }\n\
        stations:\n  - as2_id: \"A ${B:-c}\"\n    keys: []\nlimits: &l { body: 4GiB }\ndrain: 20s\n";
    const RULES: &[u8] = b"webhooks:\n- name: a # one\n  url: 'http://h/'\n  events: [\"*\"]\n  \
        retry: [5s, 1m]\n  headers: {X-A: |-\n    b\n  }\n- {name: b, url: \"http://h/\"}\n";
    let files = Files::new(&[]);
    let mut random = fastrand::Rng::with_seed(4130);
    let rounds = 300;
    let mut right = 0;
    for _ in 0..rounds {
        let write = |name: &str, text| fs::write(files.folder.path().join(name), text).unwrap();
        write("as2hook.yaml", broken(GATEWAY, &mut random));
        write("webhooks.yaml", broken(RULES, &mut random));
        match files.attempt().outcome {
            Ok(_) => right += 1,
            Err(mistakes) => {
                assert!(!mistakes.is_empty());
                for mistake in mistakes {
                    let shown = mistake.to_string();
                    assert!(!shown.contains(char::is_control), "{shown:?}");
                    assert!(mistake.line >= 1 && mistake.column >= 1);
                }
            }
        }
    }
    assert!(right < rounds, "not one was broken");
}
