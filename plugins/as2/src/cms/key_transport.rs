//! RSA key transport: PKCS#1 v1.5 (RFC 3370) and OAEP (RFC 3560).

use openssl::{
    error::ErrorStack,
    pkey::{PKeyRef, Private},
    pkey_ctx::PkeyCtx,
    rand::rand_bytes,
    rsa::Padding,
};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::{
    ber::{Tag, read::Element},
    digest::Digest,
    fault::Fault,
};

/// Opens a content-encryption key by PKCS#1 v1.5. Whatever is wrong with it (padding, length, range)
/// gives a random key instead, in the same time: Debian's OpenSSL 3.0 does not do that by itself, and
/// any difference would make the gateway a decryption oracle (RFC 3218). The choice says whether it was
/// right; it must not be branched on.
pub(super) fn pkcs1(
    key: &PKeyRef<Private>,
    encrypted: &[u8],
    length: usize,
) -> Result<(Vec<u8>, Choice), Fault> {
    let mut random = random(length)?;
    let size = key.size();
    let mut block = vec![0; size];
    if size < length + 11 || raw(key, encrypted, &mut block).is_err() {
        return Ok((random, Choice::from(0)));
    }
    let (padding, secret) = block.split_at(size - length);
    let mut good = padding[0].ct_eq(&0) & padding[1].ct_eq(&2);
    let (&separator, nonzero) = padding[2..].split_last().ok_or(Fault::NotOpened)?;
    good &= separator.ct_eq(&0);
    for byte in nonzero {
        good &= !byte.ct_eq(&0);
    }
    select(&mut random, secret, good);
    Ok((random, good))
}

/// Opens a content-encryption key by OAEP, with the digests that its parameters name.
pub(super) fn oaep(
    key: &PKeyRef<Private>,
    encrypted: &[u8],
    parameters: Option<Element<'_>>,
    length: usize,
) -> Result<(Vec<u8>, Choice), Fault> {
    // RSAES-OAEP-params (RFC 4055 section 4.1).
    let (mut digest, mut mask, mut label) = (Digest::Sha1, Digest::Sha1, Vec::new());
    if let Some(parameters) = parameters.filter(|p| p.tag == Tag::SEQUENCE) {
        let mut fields = parameters.inside();
        let named = Digest::with_mask(&mut fields, "OAEP digest")?;
        (digest, mask) = (named.0, named.1.unwrap_or(mask));
        if let Some(source) = fields.context(2)? {
            let (_, value) = source.inside().expect(Tag::SEQUENCE)?.algorithm()?;
            label = value.map(|value| value.content.to_vec()).unwrap_or_default();
        }
    }
    let random = random(length)?;
    let open = || -> Result<Vec<u8>, ErrorStack> {
        let mut context = PkeyCtx::new(key)?;
        context.decrypt_init()?;
        context.set_rsa_padding(Padding::PKCS1_OAEP)?;
        context.set_rsa_oaep_md(digest.md())?;
        context.set_rsa_mgf1_md(mask.md())?;
        if !label.is_empty() {
            context.set_rsa_oaep_label(&label)?;
        }
        let mut secret = Vec::new();
        context.decrypt_to_vec(encrypted, &mut secret)?;
        Ok(secret)
    };
    match open() {
        Ok(secret) if secret.len() == length => Ok((secret, Choice::from(1))),
        _ => Ok((random, Choice::from(0))),
    }
}

/// As many random bytes.
pub(super) fn random(length: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = vec![0; length];
    rand_bytes(&mut bytes).map_err(|_| Fault::Unavailable("the random generator"))?;
    Ok(bytes)
}

fn raw(key: &PKeyRef<Private>, encrypted: &[u8], out: &mut [u8]) -> Result<(), ErrorStack> {
    let mut context = PkeyCtx::new(key)?;
    context.decrypt_init()?;
    context.set_rsa_padding(Padding::NONE)?;
    context.decrypt(encrypted, Some(out))?;
    Ok(())
}

/// Copies the other bytes if `choice`, in the same time if not.
pub(super) fn select(into: &mut [u8], other: &[u8], choice: Choice) {
    for (byte, other) in into.iter_mut().zip(other) {
        byte.conditional_assign(other, choice);
    }
}
