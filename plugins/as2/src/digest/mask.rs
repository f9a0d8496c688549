//! The digests that the parameters of RSASSA-PSS and RSAES-OAEP name.

use super::Digest;
use crate::{
    ber::{Tag, oid, read::Reader},
    fault::Fault,
};

impl Digest {
    /// The digest and that of the mask, with which the parameters of RSASSA-PSS and RSAES-OAEP begin
    /// (RFC 4055 sections 3.1 and 4.1): SHA-1 where they leave one out. `None`: the mask has a generator,
    /// and that names no digest.
    pub(crate) fn with_mask(
        fields: &mut Reader<'_>,
        what: &'static str,
    ) -> Result<(Self, Option<Self>), Fault> {
        let known =
            |id| Self::from_oid(id).ok_or_else(|| Fault::Algorithm { what, oid: oid::dotted(id) });
        let (mut digest, mut mask) = (Self::Sha1, Some(Self::Sha1));
        if let Some(hash) = fields.context(0)? {
            digest = known(hash.inside().expect(Tag::SEQUENCE)?.algorithm()?.0)?;
        }
        if let Some(generator) = fields.context(1)? {
            let (_, hash) = generator.inside().expect(Tag::SEQUENCE)?.algorithm()?;
            mask = hash.map(|hash| known(hash.algorithm()?.0)).transpose()?;
        }
        Ok((digest, mask))
    }
}
