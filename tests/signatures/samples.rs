//! The samples of `docs/verify.md`, run as they stand there against a delivery of the gateway, and against
//! requests that are changed, stale, unsigned or malformed.

use std::{fs, process::Command};

use as2hook_event::Secret;
use as2hook_format::sign::{Covered, sign};
use as2hook_testing::{Content, Gateway, Message, Part, Post, receiver, sink};

use super::{Fields, SOON, fields, page};

const SECRET: &str = "my_secret";

/// A request, and whether its signature is to be valid.
#[derive(Clone, Debug)]
struct Case {
    what: String,
    headers: Fields,
    body: Vec<u8>,
    is_valid: bool,
}

// === impl Case ===

impl Case {
    /// The same with another value of a header.
    fn with(&self, name: &str, value: &str, is_valid: bool) -> Self {
        let mut case = self.without(name);
        case.headers.push((name.to_owned(), value.to_owned()));
        Self { what: format!("{name}: {value}"), is_valid, ..case }
    }

    fn without(&self, name: &str) -> Self {
        let mut case = self.clone();
        case.headers.retain(|(known, _)| known != name);
        Self { what: format!("without {name}"), is_valid: false, ..case }
    }

    /// The same with this timestamp, its two signatures by this secret.
    fn signed(&self, time: &str, secret: &str, is_valid: bool) -> Self {
        let header = |name| self.header(name).as_bytes();
        let covered = Covered {
            webhook_id: header("webhook-id"),
            webhook_timestamp: time.as_bytes(),
            event: header("x-as2-event"),
            partner_type: header("x-partner-type"),
            as2_from: header("as2-from"),
            as2_to: header("as2-to"),
            message_id: header("message-id"),
            processing_error: header("x-processing-error"),
            send_error: header("x-send-error"),
            event_id: header("x-as2-event-id"),
            signature_status: header("x-as2-signature-status"),
            document: header("x-as2-document"),
        };
        let signatures = sign(&[Secret::parse(secret).unwrap()], &covered, &self.body);
        self.with("webhook-signature", &signatures.webhook, is_valid)
            .with("x-as2-signature", &signatures.as2, is_valid)
            .with("webhook-timestamp", time, is_valid)
    }

    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// The first code under a heading of the page.
fn code(heading: &str) -> String {
    let page = page();
    let (_, section) = page.split_once(&format!("\n{heading}\n")).unwrap();
    let (_, code) = section.split_once("```").unwrap();
    let (code, _) = code.split_once("```").unwrap();
    code.split_once('\n').unwrap().1.to_owned()
}

/// A delivery of the gateway.
fn delivery() -> Case {
    let (receiver, sink) = (receiver().start(), sink().start());
    let gateway = Gateway::new()
        .binary(env!("CARGO_BIN_EXE_as2hook"))
        .receiver(&receiver)
        .rule("hook", |rule| rule.to(&sink, "/hook").payload("raw").set("secret", SECRET))
        .start()
        .unwrap();
    let message = Message::new("ACME", "MY-OWN-ORG")
        .attach(Part::new(
            "order.bin",
            "application/octet-stream",
            Content::Bytes(b"\xff\x00\r\n\x80".to_vec()),
        ))
        .build();
    assert_eq!(gateway.inbound().send(&Post::message("/as2", &message)).unwrap().status, 200);
    let delivered = sink.wait_for(1, SOON).unwrap()[0].clone();
    let body = delivered.body.bytes.clone();
    Case { what: "as delivered".to_owned(), headers: fields(&delivered), body, is_valid: true }
}

/// Requests that every sample judges.
fn cases() -> Vec<Case> {
    let delivered = delivery();
    let right = delivered.header("webhook-signature").to_owned();
    let time = delivered.header("webhook-timestamp").to_owned();
    let seconds: i64 = time.parse().unwrap();
    let at = |difference: i64| (seconds + difference).to_string();

    let mut body = delivered.clone();
    body.body.push(b'!');
    body.is_valid = false;
    body.what = "another body".to_owned();
    let mut bare = delivered.without("webhook-id");
    bare.headers.clear();
    let mut cases = vec![
        delivered.clone(),
        delivered.signed(&at(-60), SECRET, true),
        delivered.signed(&at(-600), SECRET, false),
        delivered.signed(&at(600), SECRET, false),
        delivered.signed(&time, "other", false),
        delivered.with("webhook-signature", &format!("v1,{} {right}", "A".repeat(44)), true),
        delivered.with("webhook-id", "msg_ä\u{3a9}", false),
        body,
        bare,
    ];
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        cases.push(delivered.without(name));
    }
    let (plus, fraction, exponent) = (format!("+{time}"), format!("{time}.0"), format!("{time}e0"));
    let arabic: String =
        time.chars().filter_map(|digit| char::from_u32(0x660 + digit.to_digit(10)?)).collect();
    let hexadecimal = format!("{seconds:#x}");
    for time in [
        "",
        "soon",
        "NaN",
        "-1",
        "ä",
        &"9".repeat(5000),
        &plus,
        &fraction,
        &exponent,
        &arabic,
        &hexadecimal,
    ] {
        cases.push(delivered.signed(time, SECRET, false));
    }
    let (longer, lower) = (format!("{right}="), right.to_lowercase());
    let non_ascii = format!("v1,{}", "ä".repeat(44));
    let as_long = format!("v1,{}", "ä".repeat(22));
    let other_version = right.replace("v1,", "v2,");
    for signature in [
        "",
        "v1",
        "v1,",
        "v1,,",
        "\u{3a9}",
        &right[3..],
        &longer,
        &lower,
        &non_ascii,
        &as_long,
        &other_version,
    ] {
        cases.push(delivered.with("webhook-signature", signature, false));
    }
    cases
}

/// Runs a shell command line in a folder that has the program in `file` and a folder for each case: the names
/// and values of its headers, a line each, in `headers`, and the `body`. The number of cases is `$1`. The program has
/// to print for each whether it is valid.
fn judges(command: &str, file: &str, program: &str, cases: &[Case]) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(file), program).unwrap();
    for (number, case) in cases.iter().enumerate() {
        let path = folder.path().join(number.to_string());
        fs::create_dir(&path).unwrap();
        let lines: String =
            case.headers.iter().map(|(name, value)| format!("{name}\n{value}\n")).collect();
        fs::write(path.join("headers"), lines).unwrap();
        fs::write(path.join("body"), &case.body).unwrap();
    }
    let ran = Command::new("sh")
        .args(["-c", command, "sh", &cases.len().to_string()])
        .current_dir(folder.path())
        .env("GOCACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/go"))
        .output()
        .unwrap();
    let (printed, errors) = (String::from_utf8(ran.stdout).unwrap(), ran.stderr);
    let errors = String::from_utf8_lossy(&errors).into_owned();
    let verdicts: Vec<_> = printed.split_whitespace().map(str::to_lowercase).collect();
    assert_eq!(verdicts.len(), cases.len(), "{printed}{errors}");
    for (case, verdict) in cases.iter().zip(verdicts) {
        assert_eq!(verdict, case.is_valid.to_string(), "{}: {errors}", case.what);
    }
    assert!(ran.status.success() && errors.is_empty(), "{errors}");
}

/// A Python program that calls this function for each case. Servers give headers as Latin-1 or as UTF-8.
fn python_program(code: &str, function: &str, encoding: &str) -> String {
    format!(
        "{code}\nimport sys\nfor i in range(int(sys.argv[1])):\n    \
         lines = open(f'{{i}}/headers', encoding='{encoding}').read().split('\\n')\n    \
         headers = dict(zip(lines[::2], lines[1::2]))\n    \
         print({function}(b'{SECRET}', headers, open(f'{{i}}/body', 'rb').read()))\n"
    )
}

#[test]
fn python() {
    let cases = cases();
    for encoding in ["latin-1", "utf-8"] {
        let program = python_program(&code("### Python"), "verify", encoding);
        judges("python3 check.py $1", "check.py", &program, &cases);
    }
}

#[test]
fn python_for_the_headers() {
    let mut cases = cases();
    let delivered = cases[0].clone();
    for name in ["webhook-id", "webhook-timestamp", "x-as2-event", "as2-from", "x-as2-document"] {
        cases.push(delivered.with(name, "other", false));
        cases.push(delivered.with(name, "ä\u{3a9}", false));
    }
    cases.push(delivered.without("as2-from"));
    cases.push(delivered.without("x-as2-signature"));
    cases.push(delivered.with("x-as2-signature", "v2,ä\u{3a9}", false));
    let code = code("### Python") + &code("## The headers too");
    for encoding in ["latin-1", "utf-8"] {
        let program = python_program(&code, "verify_headers", encoding);
        judges("python3 check.py $1", "check.py", &program, &cases);
    }
}

#[test]
fn perl() {
    let program = format!(
        "use strict; use warnings FATAL => 'all';\n{}\n\
         sub content {{ local $/; open my $in, '<' . $_[1], $_[0]; my $all = <$in>; return $all // '' }}\n\
         for my $layer (':raw', ':encoding(UTF-8)') {{\n\
         for my $i (0 .. ($layer eq ':raw' ? $ARGV[0] : 0) - 1) {{\n\
         my @lines = split /\\n/, content(\"$i/headers\", $layer), -1; pop @lines; my %headers = @lines;\n\
         print verify('{SECRET}', \\%headers, content(\"$i/body\", ':raw')) ? \"true\\n\" : \"false\\n\" }} }}\n",
        code("### Perl")
    );
    let cases = cases();
    judges("perl check.pl $1", "check.pl", &program, &cases);
    let wide = program.replace("$layer eq ':raw'", "$layer ne ':raw'");
    judges("perl check.pl $1", "check.pl", &wide, &cases);
}

#[test]
fn shell() {
    let secret: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
    let program = format!(
        "{}\nvalue() {{ sed -n \"/^$1\\$/{{n;p;q}}\" $i/headers; }}\ni=0\nwhile [ $i -lt $1 ]; do\n\
         if verify {secret} \"$(value webhook-id)\" \"$(value webhook-timestamp)\" \
         \"$(value webhook-signature)\" $i/body; then echo true; else echo false; fi\ni=$((i + 1))\ndone\n",
        code("### Shell, to look at one by hand")
    );
    judges("sh check.sh $1", "check.sh", &program, &cases());
}

#[test]
fn php() {
    let program = format!(
        "<?php\n{}\nfor ($i = 0; $i < (int) $argv[1]; $i++) {{\n    $headers = [];\n    \
         $lines = file(\"$i/headers\", FILE_IGNORE_NEW_LINES);\n    \
         for ($n = 0; $n + 1 < count($lines); $n += 2) $headers[$lines[$n]] = $lines[$n + 1];\n    \
         echo verify('{SECRET}', $headers, file_get_contents(\"$i/body\")) ? \"true\\n\" : \"false\\n\";\n}}\n",
        code("### PHP")
    );
    judges("php -d error_reporting=-1 check.php $1", "check.php", &program, &cases());
}

#[test]
fn csharp() {
    let program = format!(
        "{}\nstatic class Check {{\n    static void Main(string[] arguments) {{\n        \
         for (int i = 0; i < int.Parse(arguments[0]); i++) {{\n            \
         var headers = new Dictionary<string, string>();\n            \
         var lines = System.IO.File.ReadAllLines(i + \"/headers\");\n            \
         for (int n = 0; n + 1 < lines.Length; n += 2) headers[lines[n]] = lines[n + 1];\n            \
         var body = System.IO.File.ReadAllBytes(i + \"/body\");\n            \
         Console.WriteLine(Webhook.Verify(Encoding.UTF8.GetBytes(\"{SECRET}\"), headers, body));\n}} }} }}\n",
        code("### C#")
    );
    judges("mcs -out:check.exe check.cs && mono check.exe $1", "check.cs", &program, &cases());
}

#[test]
#[ignore = "needs Node.js: tests/signatures/run"]
fn javascript() {
    let program = format!(
        "{}\nconst fs = require('fs');\nfor (let i = 0; i < Number(process.argv[2]); i++) {{\n  \
         const lines = fs.readFileSync(`${{i}}/headers`, 'utf8').split('\\n'), headers = {{}};\n  \
         for (let n = 0; n + 1 < lines.length; n += 2) headers[lines[n]] = lines[n + 1];\n  \
         console.log(verify('{SECRET}', headers, fs.readFileSync(`${{i}}/body`)));\n}}\n",
        code("### JavaScript (Node.js)")
    );
    judges("node check.js $1", "check.js", &program, &cases());
}

#[test]
#[ignore = "needs a JDK: tests/signatures/run"]
fn java() {
    let program = format!(
        "import java.nio.file.*;\npublic class Check {{\n{}\n\
         public static void main(String[] arguments) throws Exception {{\n\
         for (int i = 0; i < Integer.parseInt(arguments[0]); i++) {{\n\
         var headers = new java.util.HashMap<String, String>();\n\
         var lines = Files.readAllLines(Path.of(i + \"/headers\"));\n\
         for (int n = 0; n + 1 < lines.size(); n += 2) headers.put(lines.get(n), lines.get(n + 1));\n\
         System.out.println(verify(\"{SECRET}\".getBytes(), headers, Files.readAllBytes(Path.of(i + \"/body\"))));\n\
         }} }} }}\n",
        code("### Java")
    );
    judges("java Check.java $1", "Check.java", &program, &cases());
}

#[test]
#[ignore = "needs Go: tests/signatures/run"]
fn go() {
    let program = format!(
        "package main\n\nimport (\n\"crypto/hmac\"\n\"crypto/sha256\"\n\"encoding/base64\"\n\"fmt\"\n\"net/http\"\n\
         \"os\"\n\"strconv\"\n\"strings\"\n\"time\"\n)\n\n{}\nfunc main() {{\n\
         count, _ := strconv.Atoi(os.Args[1])\nfor i := 0; i < count; i++ {{\n\
         text, _ := os.ReadFile(fmt.Sprint(i, \"/headers\"))\nbody, _ := os.ReadFile(fmt.Sprint(i, \"/body\"))\n\
         lines, headers := strings.Split(string(text), \"\\n\"), http.Header{{}}\n\
         for n := 0; n+1 < len(lines); n += 2 {{ headers.Set(lines[n], lines[n+1]) }}\n\
         fmt.Println(verify([]byte(\"{SECRET}\"), headers, body))\n}}\n}}\n",
        code("### Go")
    );
    judges("go run check.go $1", "check.go", &program, &cases());
}
