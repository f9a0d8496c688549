//! Compression within compression: what comes out of all layers together is in proportion to the body.

use std::io::Write;

use flate2::Compression;

use super::{
    measured, result,
    support::{
        Message,
        attack::bomb,
        cms::{compressed, compressed_entity, smime},
        codes,
        coding::gzip,
        der::Encoding,
        mime::document,
    },
};

const MIB: u64 = 1 << 20;

fn deflated_zeros(count: usize) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::best());
    for _ in 0..count / 65536 {
        encoder.write_all(&[0; 65536]).unwrap();
    }
    encoder.finish().unwrap()
}

#[test]
fn zip_bomb_ends_at_the_ratio() {
    let bomb = compressed(&deflated_zeros(32 << 20), Encoding::Der);
    let message = Message::of(&smime("compressed-data", &bomb));
    let (decoded, meter) = measured(&message);
    assert_eq!(codes(&decoded), [1300]);
    assert_eq!(decoded.errors[0].message, "expansion of compressed content over the limit of 200");
    assert_eq!((decoded.attachments.len(), decoded.compressed), (0, Some(true)));
    assert!(meter.bytes <= 16 * MIB + 200 * message.body.len() as u64);
}

#[test]
fn bomb_of_many_layers_ends_at_the_byte_count_of_one() {
    for count in [2, 3, 5, 14] {
        let message = Message::of(&bomb(count, 100).entity());
        let body = message.body.len() as u64;
        assert!(body < 20_000, "{body}");
        let (decoded, meter) = measured(&message);
        assert!(codes(&decoded).iter().all(|&code| code == 1300), "{:?}", decoded.errors);
        assert!(!decoded.errors.is_empty() && decoded.attachments.is_empty());
        let allowed = 16 * MIB + 200 * body;
        assert!(meter.output <= allowed && meter.output + MIB > allowed, "{}", meter.output);
        // Of one layer's bomb as much comes out, as far as its body goes.
        assert!(meter.bytes < allowed, "{}", meter.bytes);
    }
}

#[test]
fn bomb_in_content_codings_ends_at_the_ratio_of_all_layers() {
    let zeros = gzip(&vec![0; 64 << 20]);
    let inside = Message::of(&smime(
        "compressed-data",
        &compressed(&deflated_zeros(32 << 20), Encoding::Der),
    ));
    let plain = Message::of(&document(b""));
    for (message, body, codings) in [
        (&plain, zeros.clone(), "gzip"),
        (&plain, gzip(&zeros), "gzip, gzip"),
        (&plain, gzip(&gzip(&gzip(&zeros))), "gzip,gzip,gzip,gzip"),
        (&inside, gzip(&inside.body), "gzip"),
    ] {
        let message = Message { body, ..message.clone() }.with("Content-Encoding", codings);
        let (decoded, meter) = measured(&message);
        assert_eq!(codes(&decoded), [1300], "{:?}", decoded.errors);
        assert!(decoded.attachments.is_empty());
        let allowed = 16 * MIB + 200 * message.body.len() as u64;
        assert!(meter.output <= allowed && meter.bytes <= allowed, "{}", meter.output);
    }
}

#[test]
fn content_coding_that_gives_nothing_comes_to_checkpoints_all_the_same() {
    let empty_blocks = [0, 0, 0, 0xff, 0xff].repeat(200_000);
    let empty_members = gzip(b"").repeat(20_000);
    for (body, coding, least) in [(empty_blocks, "deflate", 15), (empty_members, "gzip", 10_000)] {
        let message =
            Message { body, ..Message::of(&document(b"")) }.with("Content-Encoding", coding);
        assert!(measured(&message).1.checkpoints >= least, "{coding}");
    }
}

#[test]
fn flat_file_padded_with_blanks_passes_up_to_34_mib() {
    // Lines of 3,000 with a number in each.
    let lines: String = (0..10_700u64)
        .map(|n| format!("{:<2998}\r\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52))
        .collect();
    let message = Message::of(&compressed_entity(&document(lines.as_bytes()), Encoding::Der));
    let ratio = lines.len() / message.body.len();
    assert!((280..400).contains(&ratio), "{ratio}");
    let decoded = result(&message);
    assert_eq!((codes(&decoded), decoded.attachments[0].size), (vec![], lines.len() as u64));
}
