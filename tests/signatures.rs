//! The few lines of `docs/verify.md`, run as they stand there against a delivery of the gateway.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::{fs, path::Path, process::Command, time::Duration};

use as2hook_testing::{Gateway, Message, Part, Post, receiver, sink};
use serde_json::{Map, Value};

const SECRET: &str = "my_secret";

/// The first code of a language under a heading of the page.
fn lines(heading: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/verify.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once(heading).unwrap();
    let (_, code) = section.split_once("```").unwrap();
    let (code, _) = code.split_once("```").unwrap();
    code.split_once('\n').unwrap().1.to_owned()
}

/// A delivery's headers as JSON, and its body.
fn delivery() -> (Map<String, Value>, Vec<u8>) {
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(&receiver)
        .rule("hook", |rule| rule.to(&sink, "/hook").payload("raw").set("secret", SECRET))
        .start()
        .unwrap();
    let message = Message::new("ACME", "MY-OWN-ORG")
        .attach(Part::text("order.edi", "application/edifact", "UNA:+.? '"))
        .build();
    assert_eq!(gateway.inbound().send(&Post::message("/as2", &message)).unwrap().status, 200);
    let delivered = sink.wait_for(1, Duration::from_secs(60)).unwrap()[0].clone();
    let names = delivered.head.names();
    let headers = names
        .iter()
        .filter_map(|name| Some((name.to_lowercase(), Value::from(delivered.header(name)?))))
        .collect();
    (headers, delivered.body.bytes.clone())
}

/// Runs a program where its interpreter is there: it must say `true false`, for the delivery and for one
/// whose body was changed.
fn says_which_is_right(interpreter: &str, file: &str, program: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (headers, body) = delivery();
    fs::write(folder.path().join("headers.json"), Value::from(headers.clone()).to_string())
        .unwrap();
    let pairs: String = headers
        .iter()
        .map(|(name, value)| format!("{name}\n{}\n", value.as_str().unwrap()))
        .collect();
    fs::write(folder.path().join("headers.txt"), pairs).unwrap();
    fs::write(folder.path().join("body"), &body).unwrap();
    let mut other = body;
    other.push(b'!');
    fs::write(folder.path().join("other"), other).unwrap();
    fs::write(folder.path().join(file), program).unwrap();
    let ran = Command::new(interpreter).arg(file).current_dir(folder.path()).output();
    let output = match ran {
        // Installing these for one example would be out of proportion; python, perl and sh are needed.
        Err(_) if ["node", "java"].contains(&interpreter) => return,
        ran => ran.unwrap(),
    };
    let (delivered, failed) = (String::from_utf8(output.stdout).unwrap(), output.stderr);
    let delivered = delivered.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    assert_eq!(delivered, "true false", "{}", String::from_utf8_lossy(&failed));
}

#[test]
fn python() {
    let program = format!(
        "import json\n{}\nheaders = json.load(open('headers.json'))\n\
         print(verify(b'{SECRET}', headers, open('body', 'rb').read()))\n\
         print(verify(b'{SECRET}', headers, open('other', 'rb').read()))\n",
        lines("## Python")
    );
    says_which_is_right("python3", "check.py", &program);
}

#[test]
fn python_for_the_headers() {
    let program = format!(
        "import json\n{}\n{}\nheaders = json.load(open('headers.json'))\n\
         body = open('body', 'rb').read()\nprint(verify_headers(b'{SECRET}', headers, body))\n\
         changed = [dict(headers, **{{name: 'other'}}) for name in COVERED + BEHIND_BODY]\n\
         print(any(verify_headers(b'{SECRET}', one, body) for one in changed))\n",
        lines("## Python"),
        lines("## The headers too")
    );
    says_which_is_right("python3", "check.py", &program);
}

#[test]
fn javascript() {
    let program = format!(
        "{}\nconst fs = require('fs');\nconst headers = JSON.parse(fs.readFileSync('headers.json'));\n\
         console.log(verify('{SECRET}', headers, fs.readFileSync('body')));\n\
         console.log(verify('{SECRET}', headers, fs.readFileSync('other')));\n",
        lines("## JavaScript")
    );
    says_which_is_right("node", "check.js", &program);
}

#[test]
fn java() {
    let program = format!(
        "import java.nio.file.*;\npublic class Check {{\n{}\n\
         public static void main(String[] arguments) throws Exception {{\n\
         var headers = new java.util.HashMap<String, String>();\n\
         var lines = Files.readAllLines(Path.of(\"headers.txt\"));\n\
         for (int i = 0; i + 1 < lines.size(); i += 2) headers.put(lines.get(i), lines.get(i + 1));\n\
         for (String file : new String[] {{\"body\", \"other\"}})\n\
         System.out.println(verify(\"{SECRET}\".getBytes(), headers, Files.readAllBytes(Path.of(file))));\n\
         }}\n}}\n",
        lines("## Java\n")
    );
    // Without the compiler, `java` runs no source.
    if Command::new("javac").arg("-version").output().is_ok() {
        says_which_is_right("java", "Check.java", &program);
    }
}

#[test]
fn perl() {
    let program = format!(
        "{}\nopen my $in, '<', 'headers.txt'; chomp(my @lines = <$in>); my %headers = @lines;\n\
         sub all {{ local $/; open my $in, '<:raw', shift; return scalar <$in> }}\n\
         print verify('{SECRET}', \\%headers, all($_)) ? \"true\\n\" : \"false\\n\" \
         for ('body', 'other');\n",
        lines("## Perl")
    );
    says_which_is_right("perl", "check.pl", &program);
}

#[test]
fn shell() {
    let secret: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
    let program = format!(
        "{}\nvalue() {{ grep -A1 -x \"$1\" headers.txt | tail -n1; }}\n\
         for file in body other; do\n\
         if verify {secret} \"$(value webhook-id)\" \"$(value webhook-timestamp)\" \
         \"$(value webhook-signature)\" $file; then echo true; else echo false; fi\ndone\n",
        lines("## Shell")
    );
    says_which_is_right("sh", "check.sh", &program);
}
