//! Protobuf's text format, as far as `config.pbtxt` uses it.

/// Messages and lists inside one another; more of them is no configuration.
const DEEPEST: usize = 16;

/// A field's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A number, a name or a text.
    Scalar(String),
    /// Several in brackets.
    List(Vec<Value>),
    /// Fields in braces, in their order.
    Message(Vec<(String, Value)>),
}

impl Value {
    /// The values of all fields called `name`, lists taken apart.
    pub(super) fn all<'v>(&'v self, name: &str) -> Vec<&'v Self> {
        let Self::Message(fields) = self else { return Vec::new() };
        let of = |(_, value): &'v (String, Self)| match value {
            Self::List(values) => values.iter().collect(),
            value => vec![value],
        };
        fields.iter().filter(|(key, _)| key == name).flat_map(of).collect()
    }

    /// The last value of the field `name`: a later one replaces an earlier one.
    pub(super) fn one(&self, name: &str) -> Option<&Self> {
        self.all(name).pop()
    }

    /// The number, name or text.
    pub(super) fn scalar(&self) -> Option<&str> {
        match self {
            Self::Scalar(text) => Some(text),
            Self::List(_) | Self::Message(_) => None,
        }
    }
}

/// Reads a message from a file's content.
///
/// # Errors
/// What was expected, and on which line.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut reader = Reader { rest: text, line: 1 };
    let message = reader.message(0)?;
    match reader.next()? {
        None => Ok(message),
        Some(token) => Err(reader.wrong("the end", Some(token))),
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Mark(char),
    Word(String),
    Text(String),
}

struct Reader<'t> {
    rest: &'t str,
    line: usize,
}

impl Reader<'_> {
    fn message(&mut self, depth: usize) -> Result<Value, String> {
        let mut fields = Vec::new();
        loop {
            match self.peek()? {
                None | Some(Token::Mark('}')) => return Ok(Value::Message(fields)),
                Some(Token::Mark(',' | ';')) => drop(self.next()?),
                Some(Token::Word(name)) => {
                    self.next()?;
                    if self.peek()? == Some(Token::Mark(':')) {
                        self.next()?;
                    }
                    fields.push((name, self.value(depth)?));
                }
                token => return Err(self.wrong("a field's name", token)),
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > DEEPEST {
            return Err(format!("line {}: more than {DEEPEST} values in one another", self.line));
        }
        match self.next()? {
            Some(Token::Mark('{')) => {
                let message = self.message(depth + 1)?;
                self.expect('}')?;
                Ok(message)
            }
            Some(Token::Mark('[')) => {
                let mut values = Vec::new();
                while self.peek()? != Some(Token::Mark(']')) {
                    if self.peek()? == Some(Token::Mark(',')) {
                        self.next()?;
                    } else {
                        values.push(self.value(depth + 1)?);
                    }
                }
                self.expect(']')?;
                Ok(Value::List(values))
            }
            Some(Token::Word(word)) => Ok(Value::Scalar(word)),
            Some(Token::Text(mut text)) => {
                // Texts that follow each other are one.
                while let Some(Token::Text(more)) = self.peek()? {
                    self.next()?;
                    text.push_str(&more);
                }
                Ok(Value::Scalar(text))
            }
            token => Err(self.wrong("a value", token)),
        }
    }

    fn expect(&mut self, mark: char) -> Result<(), String> {
        match self.next()? {
            Some(Token::Mark(found)) if found == mark => Ok(()),
            token => Err(self.wrong(&format!("`{mark}`"), token)),
        }
    }

    fn wrong(&self, expected: &str, found: Option<Token>) -> String {
        let found = match found {
            None => "the end".to_owned(),
            Some(Token::Mark(mark)) => format!("`{mark}`"),
            Some(Token::Word(text) | Token::Text(text)) => format!("`{text}`"),
        };
        format!("line {}: expected {expected}, found {found}", self.line)
    }

    fn peek(&mut self) -> Result<Option<Token>, String> {
        let (rest, line) = (self.rest, self.line);
        let token = self.next();
        (self.rest, self.line) = (rest, line);
        token
    }

    fn next(&mut self) -> Result<Option<Token>, String> {
        while let Some(first) = self.rest.chars().next() {
            if first == '#' {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.rest = &self.rest[end..];
            } else if first.is_whitespace() {
                self.line += usize::from(first == '\n');
                self.rest = &self.rest[first.len_utf8()..];
            } else {
                break;
            }
        }
        let Some(first) = self.rest.chars().next() else { return Ok(None) };
        if matches!(first, '"' | '\'') {
            return self.text(first).map(Some);
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '+');
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let length = if end == 0 { first.len_utf8() } else { end };
        let (token, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(Some(if end == 0 { Token::Mark(first) } else { Token::Word(token.to_owned()) }))
    }

    fn text(&mut self, quote: char) -> Result<Token, String> {
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '\n' => break,
                '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
                _ if character == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(Token::Text(text));
                }
                _ => text.push(character),
            }
        }
        Err(format!("line {}: a text that does not end", self.line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_triton_writes() {
        let text = "# ours\nname: \"a \\\"b\\\"\"\ninput [\n  { name: \"x\" dims: [ 3, 8 ] },\n  { name: 'y' }\n]\n\
                    version_policy: { specific { versions: [1, 3] } } max_batch_size : 8";
        let config = parse(text).unwrap();
        assert_eq!(config.one("name").and_then(Value::scalar), Some("a \"b\""));
        assert_eq!(config.all("input").len(), 2);
        let policy = config.one("version_policy").and_then(|p| p.one("specific")).unwrap();
        let versions: Vec<_> =
            policy.all("versions").into_iter().filter_map(Value::scalar).collect();
        assert_eq!(versions, ["1", "3"]);
        assert_eq!(config.one("max_batch_size").and_then(Value::scalar), Some("8"));
    }

    #[test]
    fn what_is_broken_is_named_with_its_line() {
        for (text, expected) in [
            ("name:\n", "line 2: expected a value, found the end"),
            ("a {\n b: 1", "line 2: expected `}`, found the end"),
            ("a: \"x\n", "line 1: a text that does not end"),
            ("}", "line 1: expected the end, found `}`"),
            (": 1", "line 1: expected a field's name, found `:`"),
        ] {
            assert_eq!(parse(text), Err(expected.to_owned()));
        }
        assert!(parse(&"a {".repeat(100_000)).is_err());
        assert!(parse(&format!("a: {}", "[".repeat(100_000))).is_err());
    }
}
