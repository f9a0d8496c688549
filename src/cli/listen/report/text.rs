//! Makes what a request brings fit for a terminal.

use std::str;

use crate::cli::terminal::escape;

/// The characters of a body that are printed.
const BODY: usize = 4000;

/// The body as lines, or its size where it is no text. `length`: the bytes that came.
pub(super) fn body_lines(body: &[u8], length: usize) -> String {
    if body.is_empty() {
        return "  Body: empty\n".to_owned();
    }
    let Ok(body) = str::from_utf8(body) else {
        return format!("  Body: {length} bytes, not UTF-8\n");
    };
    let mut text = format!("  Body: {length} bytes\n\n");
    let mut chars = body.char_indices();
    for (_, c) in chars.by_ref().take(BODY) {
        match c {
            '\n' | '\t' => text.push(c),
            // Moves the cursor; with the line break behind it nothing is lost.
            '\r' => {}
            c => escape(c, &mut text),
        }
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    if let Some((at, _)) = chars.next() {
        text.push_str(&format!("... and {} more bytes\n", body.len() - at));
    }
    text
}

/// Valid JSON with a line for each member, its order and its values as they came; not much more of it than is shown,
/// since deep nesting grows by the indents.
pub(super) fn indented(json: &str) -> String {
    let (mut text, mut depth) = (String::new(), 0_usize);
    let (mut is_string, mut is_escaped) = (false, false);
    let mut chars = json.chars().peekable();
    // A character has four bytes at the most.
    while text.len() <= 4 * BODY
        && let Some(c) = chars.next()
    {
        if is_string {
            text.push(c);
            is_string = is_escaped || c != '"';
            is_escaped = !is_escaped && c == '\\';
            continue;
        }
        if matches!(c, '}' | ']') {
            depth = depth.saturating_sub(1);
            if !text.ends_with(['{', '[']) {
                line_break(&mut text, depth);
            }
        }
        if !c.is_ascii_whitespace() {
            text.push(c);
        }
        match c {
            '"' => is_string = true,
            ':' => text.push(' '),
            ',' => line_break(&mut text, depth),
            '{' | '[' => {
                depth += 1;
                if !matches!(chars.peek(), Some('}' | ']')) {
                    line_break(&mut text, depth);
                }
            }
            _ => {}
        }
    }
    text
}

fn line_break(text: &mut String, depth: usize) {
    text.push('\n');
    text.push_str(&"  ".repeat(depth));
}
