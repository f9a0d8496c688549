//! What config.xml says: the components that are on, with their values resolved.

use std::path::{Path, PathBuf};

use super::{
    properties::Properties,
    xml::{self, Attributes, SourceError, XmlElement},
};

/// An OpenAS2 server.
#[derive(Debug)]
pub(super) struct Server {
    home: PathBuf,
    pub(super) properties: Properties,
    pub(super) components: Vec<Component>,
}

/// An element with a class: a module, a factory, a processor.
#[derive(Debug)]
pub(super) struct Component {
    element: String,
    /// Without its package.
    class: String,
    attributes: Attributes,
}

// === impl Server ===

impl Server {
    /// Reads config.xml, and the properties that stand in a file of their own.
    pub(super) fn read(config: &Path, properties: Option<&Path>) -> Result<Self, SourceError> {
        let mut root = xml::read(config, "openas2")?;
        let home = match config.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let mut resolver = Properties::new(&home);
        root.map_values(&mut |value| resolver.parsed(value));
        root.children("properties").for_each(|element| resolver.add_element(element));
        if let Some(file) = properties {
            resolver.add_file(file)?;
        }
        let mut components = Vec::new();
        collect(&root, &mut resolver, &mut components);
        Ok(Self { home, properties: resolver, components })
    }

    /// The components of a class.
    pub(super) fn of_class(&self, class: &str) -> impl Iterator<Item = &Component> {
        self.components.iter().filter(move |component| component.class == class)
    }

    /// The elements of a name, such as `certificates`.
    pub(super) fn of_element(&self, element: &str) -> impl Iterator<Item = &Component> {
        self.components.iter().filter(move |component| component.element == element)
    }

    /// A file that it names: relative to its folder, where `%home%` does not say so already.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        if Path::new(name).starts_with(&self.home) { name.into() } else { self.home.join(name) }
    }

    /// The ports that it listens on.
    pub(super) fn ports(&self) -> Vec<u16> {
        let ports = self.components.iter().flat_map(|component| {
            let url = component.get("baseuri").and_then(|url| url.parse::<http::Uri>().ok());
            [component.port(), url.and_then(|url| url.port_u16())]
        });
        ports.flatten().collect()
    }
}

// === impl Component ===

impl Component {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        xml::attribute(&self.attributes, name)
    }

    pub(super) fn class(&self) -> &str {
        &self.class
    }

    pub(super) fn port(&self) -> Option<u16> {
        self.get("port")?.trim().parse().ok()
    }

    pub(super) fn is_https(&self) -> bool {
        self.get("protocol").is_some_and(|protocol| protocol.eq_ignore_ascii_case("https"))
    }
}

/// Walks the tree; what is within a component that is off is off, too.
fn collect(element: &XmlElement, properties: &mut Properties, into: &mut Vec<Component>) {
    let resolved = |properties: &mut Properties| -> Attributes {
        let pairs = element.attributes.iter();
        pairs
            .map(|(name, value)| (name.clone(), properties.resolve(value, &element.attributes)))
            .collect()
    };
    if let Some(class) = element.attribute("classname") {
        let class = class.rsplit('.').next().unwrap_or(class).to_owned();
        let attributes = resolved(properties);
        let shown = XmlElement { attributes, ..XmlElement::default() };
        if !shown.is_enabled() {
            return;
        }
        into.push(Component { element: element.name.clone(), class, attributes: shown.attributes });
    }
    element.children.iter().for_each(|child| collect(child, properties, into));
}
