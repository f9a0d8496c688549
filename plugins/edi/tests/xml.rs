//! XML, as far as the samples have too little of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use as2hook_edi::{Interchange, XmlRoot};
use support::{interchange, scan};

fn root(interchange: &Interchange) -> (&str, Option<&str>) {
    let XmlRoot { root, namespace } = interchange.documents[0].xml.as_ref().unwrap();
    (root, namespace.as_deref())
}

#[test]
fn root_is_read_in_every_encoding() {
    let utf16 = |bom: &[u8], of: fn(u16) -> [u8; 2]| {
        let text = "<?xml version='1.0' encoding='UTF-16'?>\r\n<é:Bestellung xmlns:é='urn:ü'>x</é:Bestellung >";
        [bom, &text.encode_utf16().flat_map(of).collect::<Vec<_>>()].concat()
    };
    let latin = b"<?xml version='1.0' encoding = \"ISO-8859-1\"?><\xe9:Bestellung xmlns:\xe9='urn:\xfc'></\xe9:Bestellung>\n<!-- end -->";
    for bytes in [
        utf16(&[0xff, 0xfe], u16::to_le_bytes),
        utf16(&[0xfe, 0xff], u16::to_be_bytes),
        utf16(&[], u16::to_le_bytes),
        utf16(&[], u16::to_be_bytes),
        latin.to_vec(),
    ] {
        let interchange = interchange(&bytes);
        assert_eq!(root(&interchange), ("Bestellung", Some("urn:ü")));
        assert!(interchange.complete);
        let cut = self::interchange(&bytes[..bytes.len() - 20]);
        assert!(!cut.complete);
    }
}

#[test]
fn large_document_is_complete_by_its_end() {
    let long = "<Line>1</Line>".repeat(100_000);
    assert!(interchange(format!("<Order>{long}</Order>\n").as_bytes()).complete);
    assert!(!interchange(format!("<Order>{long}").as_bytes()).complete);
    assert!(!interchange(format!("<Order>{long}</Order><Line/>").as_bytes()).complete);
    assert!(interchange(b"<Order a='b'/>").complete);
}

#[test]
fn text_in_angle_brackets_is_no_xml() {
    for text in [
        "<",
        "<3",
        "<?xml version='1.0'?>",
        "<a@b.example>",
        "<<<",
        "< Order/>",
        "text <Order/>",
        "<!-- <Order/>",
    ] {
        assert_eq!(scan(text.as_bytes()).0, None, "{text}");
    }
}

#[test]
fn header_is_read_by_its_path() {
    let sbdh = "http://www.unece.org/cefact/namespaces/StandardBusinessDocumentHeader";
    let text = format!(
        "<StandardBusinessDocument xmlns='{sbdh}'><StandardBusinessDocumentHeader><HeaderVersion>1.0</HeaderVersion>\
         <Sender><Identifier Authority='iso6523-actorid-upis'>0088:1&amp;&#50;</Identifier><Identifier>no</Identifier></Sender>\
         <Sender><Identifier>no</Identifier></Sender><Receiver><Identifier><![CDATA[<R>]]></Identifier></Receiver>\
         <BusinessScope><Scope><Type>no</Type><InstanceIdentifier>no</InstanceIdentifier></Scope></BusinessScope>\
         <DocumentIdentification><Standard>s</Standard><TypeVersion>2.1</TypeVersion><InstanceIdentifier>I</InstanceIdentifier>\
         <Type>Invoice</Type><CreationDateAndTime>2026-11-15T09:30:00Z</CreationDateAndTime></DocumentIdentification>\
         </StandardBusinessDocumentHeader><Invoice xmlns='urn:x'/></StandardBusinessDocument>"
    );
    let interchange = interchange(text.as_bytes());
    let sender = interchange.sender.as_ref().unwrap();
    assert_eq!(sender.id.as_deref(), Some("0088:1&2"));
    assert_eq!(sender.qualifier.as_deref(), Some("iso6523-actorid-upis"));
    assert_eq!(interchange.receiver.as_ref().unwrap().id.as_deref(), Some("<R>"));
    assert_eq!(interchange.control_number.as_deref(), Some("I"));
    assert_eq!(interchange.documents[0].document_type.as_deref(), Some("Invoice"));
    assert_eq!(root(&interchange), ("Invoice", Some("urn:x")));
    assert!(interchange.complete);
}
