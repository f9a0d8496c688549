//! Serial numbers of certificates, as the content octets of an INTEGER. They may be negative or zero
//! (RFC 5280 section 4.1.2.2), and some senders leave out the zero in front of a positive one.

use openssl::x509::X509Ref;

use crate::{
    cut::{self, cut},
    hex,
};

/// Of a certificate.
pub(crate) fn of(certificate: &X509Ref) -> Option<Vec<u8>> {
    let number = certificate.serial_number().to_bn().ok()?;
    let magnitude = number.to_vec();
    let (mut octets, sign) = match number.is_negative() {
        true => (negated(&magnitude), 0xff),
        false => (magnitude, 0),
    };
    if octets.first().is_none_or(|first| (first ^ sign) & 0x80 != 0) {
        octets.insert(0, sign);
    }
    Some(octets)
}

/// Without octets in front that say nothing; the sign of a positive one is not looked at.
pub(crate) fn significant(mut octets: &[u8]) -> &[u8] {
    if octets.first() == Some(&0xff) {
        while let [0xff, rest @ ..] = octets
            && rest.first().is_some_and(|next| next & 0x80 != 0)
        {
            octets = rest;
        }
        return octets;
    }
    while let [0, rest @ ..] = octets
        && !rest.is_empty()
    {
        octets = rest;
    }
    octets
}

/// As `openssl x509 -serial` prints it, in lower case: a minus sign in front of a negative one.
pub(crate) fn hex(octets: &[u8]) -> String {
    let is_negative = octets.first().is_some_and(|first| first & 0x80 != 0);
    let text = match is_negative {
        true => format!("-{}", hex::encode(significant(&negated(octets)))),
        false => hex::encode(significant(octets)),
    };
    cut(text, cut::SERIAL)
}

/// The two's complement.
fn negated(octets: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = octets.iter().map(|octet| !octet).collect();
    for octet in out.iter_mut().rev() {
        *octet = octet.wrapping_add(1);
        if *octet != 0 {
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_number_of_any_sign_is_shown_as_openssl_shows_it() {
        for (octets, text) in [
            (&[0][..], "00"),
            (&[0x7f], "7f"),
            (&[0, 0x80], "80"),
            (&[0x80], "-80"),
            (&[0xff], "-01"),
            (&[0xff, 0], "-0100"),
            (&[0xff, 0xff, 0x12], "-ee"),
            (&[0, 0, 1, 2], "0102"),
        ] {
            assert_eq!(hex(octets), text, "{octets:?}");
        }
    }

    #[test]
    fn serial_numbers_are_compared_without_octets_that_say_nothing() {
        for (octets, rest) in [
            (&[0][..], &[0][..]),
            (&[0, 0, 0x80], &[0x80]),
            (&[0xff, 0x92], &[0x92]),
            (&[0xff, 0x12], &[0xff, 0x12]),
            (&[0xff], &[0xff]),
        ] {
            assert_eq!(significant(octets), rest, "{octets:?}");
        }
    }
}
