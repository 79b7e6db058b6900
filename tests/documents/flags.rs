//! Every flag that the documentation names is one that the program has.

use std::collections::{BTreeMap, BTreeSet};

use rift_models::zoo;
use rift_tests::Program;
use rift_tests::document::{Page, root};

/// The flags of every command of every program, as `--help` shows them.
struct Flags(BTreeMap<(&'static str, String), BTreeSet<String>>);

impl Flags {
    fn ask() -> Self {
        let mut all = BTreeMap::new();
        for program in Program::ALL {
            let help = program.run(["--help"]).success().stdout;
            let (_, commands) = help.split_once("Commands:\n").unwrap_or_default();
            // A command stands two columns in, what it does and goes on with further.
            let lines = commands.lines().take_while(|line| !line.is_empty());
            let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
            for name in names.filter(|name| !name.is_empty() && *name != "help") {
                let help = program.run([name, "--help"]).success().stdout;
                all.insert((program.name(), name.to_owned()), flags_of(&help));
            }
        }
        Self(all)
    }

    /// The flags of the commands of this name: of `program`, or of any.
    fn of(&self, program: Option<&str>, command: &str) -> BTreeSet<&str> {
        let wanted = |key: &(&str, String)| {
            program.is_none_or(|program| program == key.0) && (command == "*" || command == key.1)
        };
        let found = self.0.iter().filter(|(key, _)| wanted(key));
        found.flat_map(|(_, flags)| flags).map(String::as_str).collect()
    }

    fn knows(&self, command: &str) -> bool {
        self.0.keys().any(|(_, name)| name == command)
    }
}

/// The flags that a help text lists, other names of theirs included.
fn flags_of(help: &str) -> BTreeSet<String> {
    let mut flags = BTreeSet::new();
    for line in help.lines().map(str::trim) {
        let is_entry = line.starts_with("--") || line.starts_with("-h, ");
        let first = named(line).take(usize::from(is_entry));
        let others = line.split_once("[alias").map_or("", |(_, rest)| rest);
        flags.extend(first.chain(named(others)).map(str::to_owned));
    }
    flags
}

/// The flags in a text, without what is given to them.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', '[', ']', ',', '|', '(', ')', '`', ';', '\n']).filter_map(|word| {
        let end = |c: char| !(c.is_ascii_alphanumeric() || c == '-');
        let flag = word.split(end).next()?;
        flag.strip_prefix("--")?.starts_with(|c: char| c.is_ascii_lowercase()).then_some(flag)
    })
}

/// What is wrong with one command line that names one of the programs, after its name.
fn faults_after(flags: &Flags, program: &str, rest: &str) -> Vec<String> {
    let end = rest.find([';', '&', '>', '#']).unwrap_or(rest.len());
    let rest = rest[..end].split(" | ").next().unwrap_or_default();
    let first = rest.split_whitespace().next().unwrap_or_default();
    let is_command = first.starts_with(|c: char| c.is_ascii_lowercase()) && first != "help";
    let commands: Vec<&str> = if is_command { first.split('|').collect() } else { vec!["*"] };
    let known: Vec<BTreeSet<&str>> = commands.iter().map(|c| flags.of(Some(program), c)).collect();
    if known.iter().any(BTreeSet::is_empty) {
        return vec![format!("`{program}` has no command `{first}`")];
    }
    let unknown = named(rest).filter(|flag| !known.iter().all(|flags| flags.contains(flag)));
    unknown.map(|flag| format!("`{program} {first}` has no `{flag}`")).collect()
}

/// The same of a whole text: each place where a program is called.
fn faults_in(flags: &Flags, text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let mut faults = Vec::new();
    for line in joined.lines() {
        for program in Program::ALL.map(Program::name) {
            for (place, _) in line.match_indices(program) {
                let (before, rest) = (&line[..place], &line[place + program.len()..]);
                // `cargo … -p rift-trainer` names the package.
                if rest.starts_with(' ') && !before.ends_with("-p ") {
                    faults.extend(faults_after(flags, program, rest));
                }
            }
        }
    }
    faults
}

/// The same of a piece of code in a sentence: a call, `command --flag` or `--flag` alone.
fn faults_of_span(flags: &Flags, span: &str) -> Vec<String> {
    let span = &span.replace('\n', " ");
    let first = span.split_whitespace().next().unwrap_or_default();
    if Program::ALL.iter().any(|program| span.contains(program.name())) {
        return faults_in(flags, span);
    }
    let known = if flags.knows(first) {
        flags.of(None, first)
    } else if first.starts_with("--") {
        flags.of(None, "*")
    } else {
        // A call of another program, or of one that the sentence has named.
        return Vec::new();
    };
    let unknown = named(span).filter(|flag| !known.contains(flag));
    unknown.map(|flag| format!("`{span}`: no command has `{flag}`")).collect()
}

/// Flags of the Python programs in `tests/peers`, of which pages speak without their names.
const OF_OTHERS: [&str; 2] = ["--exporter", "--no-deps"];

#[test]
fn every_flag_in_the_documentation_is_one() {
    let flags = Flags::ask();
    let mut faults = Vec::new();
    for page in Page::all() {
        let prose = page.prose();
        let spans = prose.split('`').skip(1).step_by(2);
        let spans = spans.filter(|span| !OF_OTHERS.iter().any(|other| span.starts_with(other)));
        let of_spans = spans.flat_map(|span| faults_of_span(&flags, span));
        let commands = page.commands();
        let of_commands = commands.iter().flat_map(|block| faults_in(&flags, block));
        faults.extend(of_spans.chain(of_commands).map(|fault| format!("{}: {fault}", page.name)));
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_commands_that_made_the_models_are_commands() {
    let flags = Flags::ask();
    for (name, _) in zoo::entries().iter().filter(|(name, _)| !name.ends_with("-int8")) {
        let path = root().join("models/zoo").join(name).join("make.sh");
        let script = std::fs::read_to_string(path).unwrap();
        assert!(script.contains(&format!("name={name} ")));
        assert_eq!(faults_in(&flags, &script), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn a_flag_that_no_program_has_is_found() {
    let flags = Flags::ask();
    let block = "rift-trainer train --arch a \\\n    --no-such 1 # --nor-this\nls --all\n";
    assert_eq!(faults_in(&flags, block), ["`rift-trainer train` has no `--no-such`"]);
    let other = "target/release/rift-runtime info M --epochs 2 | wc --lines\n";
    assert_eq!(faults_in(&flags, other), ["`rift-runtime info` has no `--epochs`"]);
    assert_eq!(
        faults_in(&flags, "rift-trainer teach\n"),
        ["`rift-trainer` has no command `teach`"]
    );
    assert_eq!(faults_of_span(&flags, "--no-such"), ["`--no-such`: no command has `--no-such`"]);
    assert_eq!(faults_of_span(&flags, "serve --steps 2").len(), 1);
    assert_eq!(faults_of_span(&flags, "rift-runtime info|serve MODEL --screen").len(), 0);
    assert_eq!(faults_of_span(&flags, "cargo test -p rift-trainer --test a").len(), 0);
}
