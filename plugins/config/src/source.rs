//! The files of one load: read once each, watched, hashed, and where mistakes are gathered.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    env::VarError,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    rc::Rc,
};

use as2hook_as2::hex;
use openssl::sha::{Sha256, sha256};

use super::{
    diagnostic::{ConfigDiagnostic, Position},
    env::Variables,
    plugins::Plugins,
    tree::{self, Node},
};

/// A config file larger than this is none; 100,000 webhooks take about 30 MiB.
const LARGEST: u64 = 128 << 20;

/// What a load was made from: the paths, and a digest over all that stood in them.
///
/// Files that are missing belong to it too: that one appears is a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Absolute, sorted. A folder stands for the names of its `*.yaml`.
    pub paths: Vec<PathBuf>,
    /// SHA-256 in hex.
    pub hash: String,
}

/// One load.
pub(crate) struct Context {
    pub(crate) variables: Box<Variables>,
    pub(crate) plugins: Plugins,
    found: RefCell<Gathered>,
}

#[derive(Default)]
struct Gathered {
    mistakes: Vec<ConfigDiagnostic>,
    warnings: Vec<ConfigDiagnostic>,
    digests: BTreeMap<PathBuf, Digest>,
    files: HashMap<PathBuf, Result<Rc<[u8]>, String>>,
}

type Digest = [u8; 32];

/// Stands in for the digest of what is not there.
const MISSING: Digest = [0; 32];

// === impl Context ===

impl Context {
    pub(crate) fn new(
        variables: impl Fn(&str) -> Result<String, VarError> + 'static,
        plugins: Plugins,
    ) -> Rc<Self> {
        Rc::new(Self { variables: Box::new(variables), plugins, found: RefCell::default() })
    }

    pub(crate) fn mistake(&self, mistake: ConfigDiagnostic) {
        self.found.borrow_mut().mistakes.push(mistake);
    }

    /// How many mistakes were noted so far.
    pub(crate) fn mistakes(&self) -> usize {
        self.found.borrow().mistakes.len()
    }

    /// Whether one was noted at this path of a file, or below it.
    pub(crate) fn has_mistake(&self, file: &Path, path: &str) -> bool {
        self.found.borrow().mistakes.iter().any(|mistake| {
            let below = mistake.path.strip_prefix(path);
            mistake.file == file
                && below.is_some_and(|it| it.is_empty() || it.starts_with(['.', '[']))
        })
    }

    pub(crate) fn warning(&self, warning: ConfigDiagnostic) {
        self.found.borrow_mut().warnings.push(warning);
    }

    /// A file's bytes, read once for a load; in words what is wrong with it.
    pub(crate) fn read(&self, path: &Path) -> Result<Rc<[u8]>, String> {
        if let Some(known) = self.found.borrow().files.get(path) {
            return known.clone();
        }
        let bytes = read(path);
        let digest = bytes.as_ref().map_or(MISSING, |bytes| sha256(bytes));
        let outcome = bytes.map(Rc::from).map_err(|error| in_words(&error));
        let mut found = self.found.borrow_mut();
        found.digests.insert(absolute(path), digest);
        found.files.insert(path.to_owned(), outcome.clone());
        outcome
    }

    /// The `*.yaml` of a folder, sorted by name; in words what is wrong with it. Warns of other files.
    pub(crate) fn list(&self, folder: &Path) -> Result<Vec<PathBuf>, String> {
        let listed = list(folder);
        let digest = listed.as_ref().map_or(MISSING, |names| digest_names(names));
        self.found.borrow_mut().digests.insert(absolute(folder), digest);
        let files = listed.map_err(|error| in_words(&error))?;
        let (rules, others): (_, Vec<_>) = files.into_iter().partition(|path| is_yaml(path));
        for other in others {
            let what =
                "is not read: rules are the *.yaml of a folder; rename it, or keep it elsewhere";
            self.warning(ConfigDiagnostic::new(&other, Position::START, "document", what));
        }
        Ok(rules)
    }

    /// Parses a file and gathers what is wrong with it. `None`: there is nothing to judge.
    pub(crate) fn tree(&self, file: &Path) -> Result<Option<Rc<Node>>, String> {
        let bytes = self.read(file)?;
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text,
            Err(error) => {
                let at = position_of(&bytes[..error.valid_up_to()]);
                self.mistake(ConfigDiagnostic::new(file, at, "document", "this is not UTF-8"));
                return Ok(None);
            }
        };
        let (root, flaws) = tree::parse(file, text);
        self.found.borrow_mut().mistakes.extend(flaws);
        Ok(root)
    }

    /// The mistakes and the warnings, sorted by file and place, and what was read.
    pub(crate) fn finish(&self) -> (Vec<ConfigDiagnostic>, Vec<ConfigDiagnostic>, Sources) {
        let Gathered { mut mistakes, mut warnings, digests, .. } = self.found.take();
        mistakes.sort();
        mistakes.dedup();
        warnings.sort();
        warnings.dedup();
        (mistakes, warnings, Sources::from_digests(digests))
    }
}

// === impl Sources ===

impl Sources {
    /// The hash that these paths have now.
    pub(crate) fn current_hash(&self) -> String {
        let digests = self.paths.iter().map(|path| {
            let digest = if path.is_dir() {
                list(path).map_or(MISSING, |names| digest_names(&names))
            } else {
                read(path).map_or(MISSING, |bytes| sha256(&bytes))
            };
            (path.clone(), digest)
        });
        Self::from_digests(digests.collect()).hash
    }

    fn from_digests(digests: BTreeMap<PathBuf, Digest>) -> Self {
        let mut hash = Sha256::new();
        for (path, digest) in &digests {
            hash.update(&sha256(path.as_os_str().as_encoded_bytes()));
            hash.update(digest);
        }
        Self { hash: hex::encode(&hash.finish()), paths: digests.into_keys().collect() }
    }
}

// === files ===

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Looked at before it is opened: opening a FIFO would wait for its writer.
    let about = fs::metadata(path)?;
    if about.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !about.is_file() {
        return Err(io::Error::other("is no regular file"));
    }
    // It may have grown since, or lie about its length as files of `/proc` do.
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// The files of a folder, but not the hidden ones that editors leave.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && !path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml")
}

fn digest_names(files: &[PathBuf]) -> Digest {
    let mut hash = Sha256::new();
    let rules = files.iter().filter(|path| is_yaml(path));
    for name in rules.filter_map(|path| path.file_name()) {
        hash.update(name.as_encoded_bytes());
        hash.update(b"\0");
    }
    hash.finish()
}

/// So that a later change of the working directory does not lead elsewhere.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "may not be read by this user".to_owned(),
        io::ErrorKind::IsADirectory => "is a folder, not a file".to_owned(),
        io::ErrorKind::NotADirectory => "leads through something that is no folder".to_owned(),
        io::ErrorKind::FileTooLarge => format!("is larger than {} MiB", LARGEST >> 20),
        _ => format!("cannot be read: {error}"),
    }
}

fn position_of(before: &[u8]) -> Position {
    let line_start = before.iter().rposition(|&b| b == b'\n').map_or(0, |newline| newline + 1);
    let lines = before.iter().filter(|&&b| b == b'\n').count();
    let column = String::from_utf8_lossy(&before[line_start..]).chars().count();
    Position { line: lines + 1, column: column + 1 }
}
