//! partnerships.xml: who exchanges messages with whom, and whose partners are ours.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{
    properties::Properties,
    xml::{self, Attributes, SourceError, XmlElement},
};

/// A sender or receiver, with what its partnership says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TradingParty {
    pub(super) name: String,
    pub(super) as2_id: String,
    /// Its certificates in the keystore: the current one, and the one before.
    pub(super) aliases: Vec<String>,
}

/// One direction between two parties.
#[derive(Clone, Debug)]
pub(super) struct Partnership {
    pub(super) name: String,
    pub(super) sender: TradingParty,
    pub(super) receiver: TradingParty,
    attributes: Attributes,
    /// Whether OpenAS2 sends what it finds in a folder.
    pub(super) has_poller: bool,
}

/// The whole file.
#[derive(Debug, Default)]
pub(super) struct Partnerships {
    pub(super) all: Vec<Partnership>,
    /// What cannot be read of it, in words.
    pub(super) unread: Vec<String>,
}

/// The AS2 ids of which it is not clear whether they are ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Doubt {
    /// Those that may be ours.
    pub(super) likely: BTreeSet<String>,
    /// All ids.
    pub(super) all: BTreeSet<String>,
}

/// What OpenAS2's attributes of a partner are called.
const ALIASES: [&str; 2] = ["x509_alias", "x509_alias_fallback"];

// === impl Partnerships ===

impl Partnerships {
    pub(super) fn read(path: &Path, properties: &mut Properties) -> Result<Self, SourceError> {
        let mut root = xml::read(path, "partnerships")?;
        root.map_values(&mut |value| properties.parsed(value));
        let partners: BTreeMap<_, _> = root
            .children("partner")
            .filter_map(|partner| Some((partner.attribute("name")?, &partner.attributes)))
            .collect();
        let mut found = Self::default();
        let mut used = BTreeSet::new();
        for element in root.children("partnership") {
            let name = element.attribute("name").unwrap_or("without a name");
            let mut party = |role| {
                let own = element.children(role).next().map(|party| &party.attributes);
                let party = TradingParty::read(own, &partners, properties);
                party.map_err(|what| format!("the partnership {name:?}: its {role} {what}"))
            };
            match (party("sender"), party("receiver")) {
                (Ok(sender), Ok(receiver)) => {
                    used.extend([sender.name.clone(), receiver.name.clone()]);
                    found.all.push(Partnership::read(element, name, sender, receiver, properties));
                }
                (sender, receiver) => {
                    found.unread.extend(sender.err().into_iter().chain(receiver.err()));
                }
            }
        }
        let unused = partners.keys().filter(|name| !used.contains(**name));
        found
            .unread
            .extend(unused.map(|name| format!("the partner {name:?} stands in no partnership")));
        Ok(found)
    }

    pub(super) fn as2_ids(&self) -> BTreeSet<String> {
        let parties = self.all.iter().flat_map(|it| [&it.sender, &it.receiver]);
        parties.map(|party| party.as2_id.clone()).collect()
    }

    /// The ids that are ours, as far as the file shows it: every partnership has to have us on one side.
    pub(super) fn own_ids(&self) -> Result<BTreeSet<String>, Doubt> {
        let senders = |is_ours: fn(&Partnership) -> bool| -> BTreeSet<String> {
            let ours = self.all.iter().filter(|it| is_ours(it));
            ours.map(|it| it.sender.as2_id.clone()).collect()
        };
        let polled = senders(|it| it.has_poller);
        let sending = senders(|it| it.has_poller || it.url().is_some());
        let fits = |ours: &BTreeSet<String>| {
            let is_one_of_us = |party: &TradingParty| ours.contains(&party.as2_id);
            self.all.iter().all(|it| is_one_of_us(&it.sender) != is_one_of_us(&it.receiver))
        };
        if self.all.is_empty() {
            return Ok(BTreeSet::new());
        }
        let strongest =
            [polled, sending.clone()].into_iter().find(|ours| !ours.is_empty() && fits(ours));
        strongest.ok_or_else(|| {
            let receiving = self.all.iter().filter(|it| it.url().is_none());
            let likely = match sending.is_empty() {
                true => receiving.map(|it| it.receiver.as2_id.clone()).collect(),
                false => sending,
            };
            Doubt { likely, all: self.as2_ids() }
        })
    }
}

// === impl TradingParty ===

impl TradingParty {
    /// What stands in the partnership wins over what stands at the partner that it names.
    fn read(
        own: Option<&Attributes>,
        partners: &BTreeMap<&str, &Attributes>,
        properties: &mut Properties,
    ) -> Result<Self, String> {
        let own = own.ok_or("is missing")?;
        let name = xml::attribute(own, "name").unwrap_or_default();
        let shared = partners.get(name).copied();
        if shared.is_none() && !name.is_empty() {
            return Err(format!("is {name:?}, and there is no such partner"));
        }
        let mut value = |key: &str| {
            let from = [Some(own), shared].into_iter().flatten();
            let value = from.filter_map(|it| Some((it, xml::attribute(it, key)?))).next();
            let value = value.map(|(siblings, value)| properties.resolve(value, siblings));
            value.filter(|value| !value.trim().is_empty())
        };
        Ok(Self {
            as2_id: value("as2_id").ok_or("has no as2_id")?,
            aliases: ALIASES.into_iter().filter_map(&mut value).collect(),
            name: name.to_owned(),
        })
    }
}

// === impl Partnership ===

impl Partnership {
    fn read(
        element: &XmlElement,
        name: &str,
        sender: TradingParty,
        receiver: TradingParty,
        properties: &mut Properties,
    ) -> Self {
        let written: Attributes = element
            .children("attribute")
            .filter_map(|it| {
                Some((it.attribute("name")?.to_owned(), it.attribute("value")?.to_owned()))
            })
            .collect();
        let resolved = written.iter();
        let attributes = resolved
            .map(|(key, value)| (key.clone(), properties.resolve(value, &written)))
            .collect();
        let has_poller = element.children("pollerConfig").any(|poller| {
            let attributes = poller.attributes.iter();
            let resolved = attributes
                .map(|(key, value)| (key.clone(), properties.resolve(value, &poller.attributes)))
                .collect();
            XmlElement { attributes: resolved, ..XmlElement::default() }.is_enabled()
        });
        Self { name: name.to_owned(), sender, receiver, attributes, has_poller }
    }

    pub(super) fn get(&self, attribute: &str) -> Option<&str> {
        xml::attribute(&self.attributes, attribute).filter(|value| !value.trim().is_empty())
    }

    /// Where its messages go.
    pub(super) fn url(&self) -> Option<&str> {
        self.get("as2_url")
    }

    pub(super) fn attribute_names(&self) -> impl Iterator<Item = &str> {
        self.attributes.iter().map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const TWO: &str = r#"<partner name="We" as2_id="WE" x509_alias="we" x509_alias_fallback="we-old"/>
        <partner name="Acme" as2_id="ACME" x509_alias="acme"/>"#;

    fn read(text: &str) -> Partnerships {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("partnerships.xml");
        fs::write(&path, format!("<partnerships>{text}</partnerships>")).unwrap();
        Partnerships::read(&path, &mut Properties::default()).unwrap()
    }

    fn one(from: &str, to: &str, inside: &str) -> String {
        format!(
            "<partnership name='{from}-{to}'><sender name='{from}'/><receiver name='{to}'/>{inside}</partnership>"
        )
    }

    const URL: &str = "<attribute name='as2_url' value='http://acme.example/'/>";
    const POLLER: &str = "<pollerConfig enabled='true'/>";

    fn own(text: &str) -> Result<Vec<String>, Doubt> {
        read(&format!("{TWO}{text}")).own_ids().map(|ids| ids.into_iter().collect())
    }

    #[test]
    fn sender_with_a_url_or_a_poller_is_ours() {
        let inbound = one("Acme", "We", "");
        assert_eq!(own(&(one("We", "Acme", URL) + &inbound)).unwrap(), ["WE"]);
        assert_eq!(own(&(one("We", "Acme", POLLER) + &inbound)).unwrap(), ["WE"]);
    }

    #[test]
    fn poller_decides_where_both_sides_have_a_url() {
        let both = one("We", "Acme", &format!("{URL}{POLLER}")) + &one("Acme", "We", URL);
        assert_eq!(own(&both).unwrap(), ["WE"]);
        let off = both.replace("'true'", "'false'");
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        let doubt = Doubt { likely: ids(&["ACME", "WE"]), all: ids(&["ACME", "WE"]) };
        assert_eq!(own(&off).unwrap_err(), doubt);
    }

    #[test]
    fn receiver_alone_is_a_guess() {
        let doubt = own(&one("Acme", "We", "")).unwrap_err();
        assert_eq!(doubt.likely.into_iter().collect::<Vec<_>>(), ["WE"]);
    }

    #[test]
    fn partnership_overrides_its_partner() {
        let text = format!(
            "{TWO}<partnership name='p'><sender name='We' x509_alias='other'/>\
             <receiver name='Acme' as2_id='ACME-TEST'/></partnership>"
        );
        let read = read(&text);
        assert_eq!(read.all[0].sender.aliases, ["other", "we-old"]);
        assert_eq!(read.all[0].receiver.as2_id, "ACME-TEST");
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let read = read(&(TWO.to_owned() + &one("We", "Foo", URL) + "<partnership name='p'/>"));
        assert!(read.all.is_empty());
        assert_eq!(
            read.unread,
            [
                "the partnership \"We-Foo\": its receiver is \"Foo\", and there is no such partner",
                "the partnership \"p\": its sender is missing",
                "the partnership \"p\": its receiver is missing",
                "the partner \"Acme\" stands in no partnership",
                "the partner \"We\" stands in no partnership",
            ]
        );
    }
}
