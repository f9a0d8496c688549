//! Where the attachments of a decoded message are written: the sender chooses their names and contents.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use as2hook_as2::{Attachment, ContentReceiver, Headers};

/// Writes attachments into a folder while they stream, for the caller's eyes alone.
pub(super) struct Folder<'a> {
    path: Option<&'a Path>,
    current: Option<(PathBuf, File)>,
    failed: Option<FileError>,
}

/// A path, and why it could not be written.
pub(super) type FileError = (PathBuf, io::Error);

/// Longer names are cut. File systems take 255 bytes, of which some are left for a number.
const NAME_MAX: usize = 200;

/// What stands behind the last dot is kept when a name is cut, up to this length.
const EXTENSION_MAX: usize = 16;

/// Names that are tried for one attachment.
const TRIES: usize = 1000;

/// Names of devices on some systems, whatever stands behind a dot.
const DEVICES: [&str; 6] = ["aux", "con", "conin$", "conout$", "nul", "prn"];

// === impl Folder ===

impl<'a> Folder<'a> {
    /// Makes the folder if need be. Without a path nothing is written.
    pub(super) fn new(path: Option<&'a Path>) -> Result<Self, FileError> {
        if let Some(path) = path {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.map_err(|error| (path.to_owned(), error))?;
        }
        Ok(Self { path, current: None, failed: None })
    }

    /// Whether all was written.
    pub(super) fn finish(self) -> Result<(), FileError> {
        self.failed.map_or(Ok(()), Err)
    }

    /// A file that was not there before; a link that is there is not followed.
    fn create(
        &self,
        folder: &Path,
        index: usize,
        name: Option<&str>,
    ) -> Result<(PathBuf, File), FileError> {
        let number = index + 1;
        let name = safe(name.unwrap_or_default());
        let name = if name.is_empty() { format!("attachment-{number}") } else { name };
        let (stem, extension) = split(&name);
        let numbered = |more: String| format!("{stem}-{number}{more}{extension}");
        let others = (2..TRIES).map(|more| numbered(format!("-{more}")));
        let names = [name.clone(), numbered(String::new())].into_iter().chain(others);
        for name in names {
            let path = folder.join(name);
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => return Ok((path, file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err((path, error)),
            }
        }
        Err((folder.join(&name), io::ErrorKind::AlreadyExists.into()))
    }
}

impl ContentReceiver for Folder<'_> {
    fn begin(&mut self, index: usize, name: Option<&str>, _: &Headers) {
        let Some(folder) = self.path else { return };
        match self.create(folder, index, name) {
            Ok(file) => self.current = Some(file),
            Err(error) => self.failed = Some(error),
        }
    }

    fn data(&mut self, _: usize, bytes: &[u8]) {
        if let Some((path, file)) = &mut self.current
            && let Err(error) = file.write_all(bytes)
        {
            self.failed = Some((path.clone(), error));
            self.current = None;
        }
    }

    fn end(&mut self, _: usize, _: &Attachment) {
        self.current = None;
    }
}

/// A sender's name as that of a file: without a path, without what a terminal or a file system takes for
/// more than text, not hidden, not an option, not a device. Empty when nothing is left.
fn safe(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let fit = |c: char| match c {
        '<' | '>' | ':' | '"' | '|' | '?' | '*' => '_',
        c => c,
    };
    let text: String = last.chars().filter(|c| !is_hidden(*c)).map(fit).collect();
    let text = text.trim_start_matches(|c: char| c == '.' || c.is_whitespace());
    let text = cut(text);
    let text = text.trim_end_matches(|c: char| c == '.' || c.is_whitespace());
    if text.starts_with(['-', '~']) || is_device(text) {
        format!("_{text}")
    } else {
        text.to_owned()
    }
}

/// Control characters, and those that change how others are shown.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    let port = stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt"));
    let numbered = port.is_some_and(|number| {
        number.chars().count() == 1
            && number.chars().all(|c| "0123456789\u{b9}\u{b2}\u{b3}".contains(c))
    });
    numbered || DEVICES.contains(&stem.as_str())
}

/// At most [`NAME_MAX`] bytes, with its extension.
fn cut(name: &str) -> String {
    if name.len() <= NAME_MAX {
        return name.to_owned();
    }
    let (stem, extension) = split(name);
    let mut end = NAME_MAX - extension.len();
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{extension}", &stem[..end])
}

/// The name up to its extension, and that with its dot.
fn split(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(dot) if dot > 0 && name.len() - dot <= EXTENSION_MAX => name.split_at(dot),
        _ => (name, ""),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn names_of_a_sender_are_made_safe() {
        for (name, expected) in [
            ("order.edi", "order.edi"),
            ("../../etc/passwd", "passwd"),
            ("C:\\orders\\a b.xml", "a b.xml"),
            ("..", ""),
            (".", ""),
            ("/", ""),
            (".bashrc", "bashrc"),
            (" ..  .profile ", "profile"),
            ("a\0b\r\n\u{1b}[31mc\u{9b}d", "ab[31mcd"),
            ("invoice\u{202e}fdp.exe", "invoicefdp.exe"),
            ("a:b*c?.txt", "a_b_c_.txt"),
            ("-rf", "_-rf"),
            ("~root", "_~root"),
            ("NUL", "_NUL"),
            ("con.txt", "_con.txt"),
            ("Com1.log", "_Com1.log"),
            ("LPT9", "_LPT9"),
            ("common.txt", "common.txt"),
            ("com10", "com10"),
            ("file. . .", "file"),
            ("\u{fc}ber.xml", "\u{fc}ber.xml"),
        ] {
            assert_eq!(safe(name), expected, "{name:?}");
        }
        let long = safe(&format!("{}.xml", "\u{fc}".repeat(300)));
        assert!(long.len() <= NAME_MAX && long.ends_with("\u{fc}.xml"), "{long}");
        assert!(safe(&"x".repeat(1000)).len() <= NAME_MAX);
    }

    #[test]
    fn files_are_for_the_caller_alone_and_overwrite_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("new/payloads");
        let elsewhere = parent.path().join("elsewhere");
        let mut folder = Folder::new(Some(&path)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        fs::write(path.join("order.edi"), "there before").unwrap();
        std::os::unix::fs::symlink(&elsewhere, path.join("link.txt")).unwrap();
        let names = ["order.edi", "order.edi", "../link.txt", "", ".hidden"];
        for (index, name) in names.into_iter().enumerate() {
            folder.begin(index, Some(name), &Headers::new());
            folder.data(index, format!("attachment {index}").as_bytes());
            folder.current = None;
        }
        assert!(folder.finish().is_ok());
        assert_eq!(fs::read_to_string(path.join("order.edi")).unwrap(), "there before");
        for (name, index) in [
            ("order-1.edi", 0),
            ("order-2.edi", 1),
            ("link-3.txt", 2),
            ("attachment-4", 3),
            ("hidden", 4),
        ] {
            let file = path.join(name);
            assert_eq!(fs::read_to_string(&file).unwrap(), format!("attachment {index}"));
            assert_eq!(mode(&file), 0o600, "{name}");
        }
        assert!(!elsewhere.exists());
        assert_eq!(fs::read_dir(&path).unwrap().count(), 7);
    }

    #[test]
    fn second_decode_into_the_same_folder_keeps_the_files_of_the_first() {
        let path = tempfile::tempdir().unwrap();
        for round in 0..4 {
            let mut folder = Folder::new(Some(path.path())).unwrap();
            folder.begin(0, Some("a.xml"), &Headers::new());
            folder.data(0, format!("{round}").as_bytes());
            assert!(folder.finish().is_ok());
        }
        for (round, name) in ["a.xml", "a-1.xml", "a-1-2.xml", "a-1-3.xml"].iter().enumerate() {
            let written = fs::read_to_string(path.path().join(name)).unwrap();
            assert_eq!(written, round.to_string(), "{name}");
        }
    }
}
