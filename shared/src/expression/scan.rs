//! Reading expressions as text: where one ends inside a string, and what it refers to.
//!
//! The grammar proper belongs to minijinja; this module only knows its tokens, so that strings and
//! braces inside an expression do not end it, and so that references have a position.

use super::{CompileError, Reference, Segment};

/// One token and the bytes it covers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Lexeme<'a> {
    pub(super) token: Token<'a>,
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Token<'a> {
    Name(&'a str),
    Number(&'a str),
    /// The text between the quotes, as written.
    Text(&'a str),
    Sign(char),
}

/// A part of a text with expressions.
#[derive(Debug, PartialEq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    /// What stands between `${{` and `}}`, and where it begins in the text.
    Expression(&'a str, usize),
}

/// Splits a text at its `${{ … }}`.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, CompileError> {
    let mut list = Vec::new();
    let mut from = 0;
    let mut search = 0;
    while let Some(found) = text[search..].find("${") {
        let at = search + found;
        match text.as_bytes().get(at + 2) {
            Some(b'{') => {}
            Some(b'%' | b'#') => {
                return Err(CompileError::at(
                    at,
                    "`${%` and `${#` are not supported: a text may hold expressions only",
                )
                .suggest("write `${{ … }}`; choose between values with `${{ a if condition else b }}`"));
            }
            _ => {
                search = at + 2;
                continue;
            }
        }
        if from < at {
            list.push(Piece::Text(&text[from..at]));
        }
        let begin = at + 3;
        let length = closing(&text[begin..]).ok_or_else(|| {
            CompileError::at(at, "`${{` is not closed by `}}`")
                .suggest("close it with `}}`; a text with ` #` or `: ` must be quoted; a literal `${{` is `${{ '${{' }}`")
        })?;
        list.push(Piece::Expression(&text[begin..begin + length], begin));
        from = begin + length + 2;
        search = from;
    }
    if from < text.len() {
        list.push(Piece::Text(&text[from..]));
    }
    Ok(list)
}

/// How many bytes of `text` come before the `}}` that closes the expression at its beginning.
fn closing(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'"' | b'\'') => at = end_of_text(bytes, at, quote)?,
            b'{' | b'(' | b'[' => depth += 1,
            b'}' if depth == 0 && bytes.get(at + 1) == Some(&b'}') => return Some(at),
            b'}' | b')' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where the quote that closes the text opened at `start` stands.
fn end_of_text(bytes: &[u8], start: usize, quote: u8) -> Option<usize> {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            byte if byte == quote => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The tokens of an expression. Characters that no expression has are passed on as signs.
pub(super) fn lexemes(source: &str) -> Result<Vec<Lexeme<'_>>, CompileError> {
    let bytes = source.as_bytes();
    let mut list = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let token = match bytes[at] {
            byte if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            quote @ (b'"' | b'\'') => {
                let end = end_of_text(bytes, at, quote)
                    .ok_or_else(|| CompileError::at(at, "a text in quotes is not closed"))?;
                at = end + 1;
                Token::Text(&source[start + 1..end])
            }
            byte if byte.is_ascii_digit() => {
                while at < bytes.len() && (bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_') {
                    at += 1;
                }
                if bytes.get(at) == Some(&b'.') && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
                    at += 1;
                    while at < bytes.len() && (bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_') {
                        at += 1;
                    }
                }
                Token::Number(&source[start..at])
            }
            byte if byte.is_ascii_alphabetic() || byte == b'_' => {
                while at < bytes.len() && (bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_') {
                    at += 1;
                }
                Token::Name(&source[start..at])
            }
            _ => {
                let sign = source[at..].chars().next().unwrap_or(' ');
                at += sign.len_utf8();
                Token::Sign(sign)
            }
        };
        list.push(Lexeme { token, start, end: at });
    }
    Ok(list)
}

/// Words with a meaning of their own in the language.
const WORDS: &[&str] =
    &["and", "or", "not", "in", "is", "if", "else", "true", "false", "none", "True", "False", "None"];

/// What an expression names: its references, and the filters and tests it uses.
#[derive(Debug, Default)]
pub(super) struct Names<'a> {
    pub(super) references: Vec<Reference>,
    pub(super) filters: Vec<(&'a str, usize)>,
    pub(super) tests: Vec<(&'a str, usize)>,
    pub(super) calls: Vec<(&'a str, usize)>,
}

/// Collects what an expression names.
pub(super) fn names<'a>(lexemes: &[Lexeme<'a>]) -> Names<'a> {
    let mut found = Names::default();
    let sign = |index: usize| match lexemes.get(index).map(|lexeme| lexeme.token) {
        Some(Token::Sign(sign)) => Some(sign),
        _ => None,
    };
    let name = |index: usize| match lexemes.get(index).map(|lexeme| lexeme.token) {
        Some(Token::Name(name)) => Some(name),
        _ => None,
    };
    let mut at = 0;
    while at < lexemes.len() {
        let lexeme = lexemes[at];
        let Token::Name(word) = lexeme.token else {
            at += 1;
            continue;
        };
        let before = at.checked_sub(1);
        let sign_before = before.and_then(sign);
        let word_before = before.and_then(name);
        at += 1;
        if sign_before == Some('|') {
            found.filters.push((word, lexeme.start));
            continue;
        }
        let is_test = word != "not"
            && (word_before == Some("is")
                || (word_before == Some("not")
                    && before.and_then(|b| b.checked_sub(1)).and_then(name) == Some("is")));
        if is_test {
            found.tests.push((word, lexeme.start));
            continue;
        }
        if WORDS.contains(&word) || sign_before == Some('.') {
            continue;
        }
        if sign(at) == Some('=') && sign(at + 1) != Some('=') {
            // The name of a keyword argument.
            continue;
        }
        if sign(at) == Some('(') {
            found.calls.push((word, lexeme.start));
            continue;
        }
        let mut path = Vec::new();
        let mut end = lexeme.end;
        loop {
            match (sign(at), lexemes.get(at + 1).map(|next| next.token)) {
                (Some('.'), Some(Token::Name(field))) if sign(at + 2) != Some('(') => {
                    path.push(Segment::Key(field.to_owned()));
                    end = lexemes[at + 1].end;
                    at += 2;
                }
                (Some('['), Some(Token::Text(key))) if sign(at + 2) == Some(']') && !key.contains('\\') => {
                    path.push(Segment::Key(key.to_owned()));
                    end = lexemes[at + 2].end;
                    at += 3;
                }
                (Some('['), Some(Token::Number(number))) if sign(at + 2) == Some(']') => {
                    let Ok(index) = number.parse() else { break };
                    path.push(Segment::Index(index));
                    end = lexemes[at + 2].end;
                    at += 3;
                }
                _ => break,
            }
        }
        found.references.push(Reference { root: word.to_owned(), path, start: lexeme.start, end });
    }
    found
}
