use super::*;

fn key(secret: u8) -> PayloadKey {
    PayloadKey::derive(&[secret; 32]).unwrap()
}

fn plain(length: usize) -> Vec<u8> {
    (0..=250).cycle().step_by(7).take(length).collect()
}

fn seal(key: &PayloadKey, event: Uuid, plain: &[u8], step: usize) -> Vec<u8> {
    let mut sealer = Sealer::new(key, event).unwrap();
    let mut sealed = sealer.header().to_vec();
    for bytes in plain.chunks(step) {
        let expected = sealer.output(bytes.len());
        let chunks = sealer.push(bytes).unwrap();
        assert_eq!(chunks.len(), expected);
        sealed.extend(chunks);
    }
    sealed.extend(sealer.finish().unwrap());
    sealed
}

fn open(key: &PayloadKey, event: Uuid, sealed: &[u8], step: usize) -> Result<Vec<u8>, SealError> {
    let (header, rest) = sealed.split_first_chunk().ok_or(SealError::Damaged)?;
    let mut opener = Opener::new(Some(key), event, *header)?;
    let mut plain = Vec::new();
    for bytes in rest.chunks(step) {
        opener.push(bytes);
        while opener.has_chunk() {
            plain.extend_from_slice(&opener.next()?.unwrap());
        }
    }
    while let Some(chunk) = opener.next()? {
        plain.extend_from_slice(&chunk);
    }
    Ok(plain)
}

const EVENT: Uuid = Uuid::from_u128(1);

#[test]
fn sealed_payload_opens_for_any_length_and_step() {
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5] {
        let plain = plain(length);
        for step in [1_000, CHUNK, 5 * CHUNK] {
            let sealed = seal(&key(7), EVENT, &plain, step);
            let chunks = length.div_ceil(CHUNK).max(1);
            assert_eq!(sealed.len(), HEADER + length + chunks * TAG);
            assert_eq!(open(&key(7), EVENT, &sealed, 7_000).unwrap(), plain, "{length}, {step}");
        }
    }
}

#[test]
fn sealed_payloads_reveal_nothing_and_differ() {
    let plain = vec![b'E'; 2 * CHUNK];
    let (one, other) = (seal(&key(7), EVENT, &plain, CHUNK), seal(&key(7), EVENT, &plain, CHUNK));
    assert!(!one.windows(4).any(|bytes| bytes == b"EEEE"));
    assert_ne!(one[HEADER..], other[HEADER..]);
    // Nor the two chunks of one payload.
    assert_ne!(one[HEADER..HEADER + CHUNK], one[HEADER + CHUNK + TAG..HEADER + 2 * CHUNK + TAG]);
}

#[test]
fn wrong_key_is_distinguished_from_damage() {
    let sealed = seal(&key(7), EVENT, b"UNB+", 4);
    assert!(matches!(open(&key(8), EVENT, &sealed, 99), Err(SealError::OtherKey)));
    let header = sealed.first_chunk().copied().unwrap();
    assert!(matches!(Opener::new(None, EVENT, header), Err(SealError::NoKey)));
    let mut other_form = sealed;
    other_form[7] = 2;
    assert!(matches!(open(&key(7), EVENT, &other_form, 99), Err(SealError::Form)));
}

#[test]
fn another_events_payload_does_not_open() {
    let sealed = seal(&key(7), EVENT, b"UNB+", 4);
    let other = Uuid::from_u128(2);
    assert!(matches!(open(&key(7), other, &sealed, 99), Err(SealError::Damaged)));
}

#[test]
fn change_of_any_bit_is_detected() {
    let sealed = seal(&key(7), EVENT, b"UNA:+.? 'UNB+UNOC:3", 99);
    for index in 0..sealed.len() {
        for bit in [1, 0x80] {
            let mut bent = sealed.clone();
            bent[index] ^= bit;
            assert!(open(&key(7), EVENT, &bent, 99).is_err(), "byte {index}");
        }
    }
}

#[test]
fn truncation_is_detected_at_every_position() {
    let sealed = seal(&key(7), EVENT, &plain(3 * CHUNK), CHUNK);
    let whole = CHUNK + TAG;
    let cuts = [0, 1, HEADER, HEADER + 1, HEADER + whole, HEADER + 2 * whole, sealed.len() - 1];
    for cut in cuts {
        let opened = open(&key(7), EVENT, &sealed[..cut], whole);
        assert!(opened.is_err(), "cut at {cut}");
    }
    let longer = [&sealed[..], b"more"].concat();
    assert!(open(&key(7), EVENT, &longer, whole).is_err());
}

#[test]
fn moved_missing_or_repeated_chunks_are_detected() {
    let sealed = seal(&key(7), EVENT, &plain(4 * CHUNK), CHUNK);
    let other = seal(&key(7), EVENT, &plain(4 * CHUNK), CHUNK);
    let chunk = |of: &[u8], n: usize| {
        of[HEADER + n * (CHUNK + TAG)..HEADER + (n + 1) * (CHUNK + TAG)].to_vec()
    };
    let of = |order: &[usize]| {
        let mut made = sealed[..HEADER].to_vec();
        order.iter().for_each(|&n| made.extend(chunk(&sealed, n)));
        made
    };
    assert!(open(&key(7), EVENT, &of(&[0, 1, 2, 3]), CHUNK).is_ok());
    for order in [&[1, 0, 2, 3][..], &[0, 2, 3], &[0, 1, 1, 2, 3], &[0, 1, 3, 2], &[3]] {
        assert!(open(&key(7), EVENT, &of(order), CHUNK).is_err(), "{order:?}");
    }
    let mut mixed = of(&[0, 1]);
    mixed.extend(chunk(&other, 2));
    mixed.extend(chunk(&sealed, 3));
    assert!(open(&key(7), EVENT, &mixed, CHUNK).is_err());
}

#[test]
fn debug_of_a_key_shows_no_secret() {
    assert_eq!(format!("{:?}", key(7)), "PayloadKey(***)");
}
