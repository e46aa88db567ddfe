//! Messages of D-Bus (its specification, "Message Format"), as far as this crate's calls need them: in the byte order of
//! this machine, with bodies of strings, object paths and numbers.

use crate::bus::BusError;

/// More is no message of systemd's; the specification allows eight times as much.
const LARGEST: usize = 16 << 20;
/// Byte order, kind, flags and version, then the lengths of the body and of the fields, with the number between.
pub(crate) const PREFIX: usize = 16;
const ORDER: u8 = if cfg!(target_endian = "little") { b'l' } else { b'B' };

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Return,
    Error,
    Signal,
    /// A call, or what a later version may add.
    Other,
}

/// A message that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    /// The number of the call that it answers.
    pub(crate) answers: Option<u32>,
    /// The name of the error.
    pub(crate) error: String,
    pub(crate) interface: String,
    pub(crate) member: String,
    pub(crate) signature: String,
    pub(crate) body: Vec<u8>,
}

/// A value as a property of a unit has it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    Text(&'a str),
    Truth(bool),
    Long(u64),
    Numbers(&'a [u32]),
}

/// A field of a message's head that is text, of a kind of text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) code: u8,
    pub(crate) kind: &'a str,
    pub(crate) text: &'a str,
}

/// Whom a call is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    /// The peer's name on the bus; on systemd's own socket nobody has one.
    pub(crate) name: Option<&'static str>,
    pub(crate) path: &'static str,
    pub(crate) interface: &'static str,
}

/// Bytes with every value at a multiple of its size.
#[derive(Debug, Default)]
pub(crate) struct Body {
    bytes: Vec<u8>,
    signature: String,
}

impl Body {
    /// A body of strings.
    pub(crate) fn of(texts: &[&str]) -> Self {
        let mut body = Self { bytes: Vec::new(), signature: "s".repeat(texts.len()) };
        texts.iter().for_each(|text| body.text(text));
        body
    }

    /// Two strings, a list of named values, and an empty list of units with such: `ssa(sv)a(sa(sv))`.
    pub(crate) fn with_properties(texts: [&str; 2], properties: &[(&str, Value<'_>)]) -> Self {
        let mut body = Self::of(&texts);
        body.signature.push_str("a(sv)a(sa(sv))");
        body.list(8, |body| {
            for (name, value) in properties {
                body.align(8);
                body.text(name);
                body.variant(*value);
            }
        });
        body.list(8, |_| {});
        body
    }

    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn number(&mut self, number: u32) {
        self.align(4);
        self.bytes.extend_from_slice(&number.to_ne_bytes());
    }

    fn length(&mut self, length: usize) {
        // What is too long for its length is too long for a message, too.
        self.number(u32::try_from(length).unwrap_or(u32::MAX));
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
    }

    fn kind(&mut self, signature: &str) {
        self.bytes.push(u8::try_from(signature.len()).unwrap_or(u8::MAX));
        self.bytes.extend_from_slice(signature.as_bytes());
        self.bytes.push(0);
    }

    /// Elements behind their common length, which does not count what aligns the first.
    fn list(&mut self, alignment: usize, elements: impl FnOnce(&mut Self)) {
        self.number(0);
        let at = self.bytes.len() - 4;
        self.align(alignment);
        let begin = self.bytes.len();
        elements(self);
        let length = u32::try_from(self.bytes.len() - begin).unwrap_or(u32::MAX);
        self.bytes[at..at + 4].copy_from_slice(&length.to_ne_bytes());
    }

    fn variant(&mut self, value: Value<'_>) {
        match value {
            Value::Text(text) => {
                self.kind("s");
                self.text(text);
            }
            Value::Truth(truth) => {
                self.kind("b");
                self.number(truth.into());
            }
            Value::Long(number) => {
                self.kind("t");
                self.align(8);
                self.bytes.extend_from_slice(&number.to_ne_bytes());
            }
            Value::Numbers(numbers) => {
                self.kind("au");
                self.list(4, |body| numbers.iter().for_each(|number| body.number(*number)));
            }
        }
    }

    /// The whole message of a call with this body.
    pub(crate) fn call(&self, number: u32, target: Target, method: &str) -> Vec<u8> {
        let field = |code, kind, text| Field { code, kind, text };
        let fields = [field(1, "o", target.path), field(2, "s", target.interface), field(3, "s", method)];
        let name = target.name.map(|name| field(6, "s", name));
        self.message(1, number, &fields.into_iter().chain(name).collect::<Vec<_>>())
    }

    /// A message of a kind.
    fn message(&self, kind: u8, number: u32, fields: &[Field<'_>]) -> Vec<u8> {
        // Without flags, of version 1.
        let mut message = Self { bytes: vec![ORDER, kind, 0, 1], signature: String::new() };
        message.length(self.bytes.len());
        message.number(number);
        let signature =
            (!self.signature.is_empty()).then_some(Field { code: 8, kind: "g", text: &self.signature });
        message.list(8, |list| {
            for Field { code, kind, text } in fields.iter().copied().chain(signature) {
                list.align(8);
                list.bytes.push(code);
                list.kind(kind);
                if kind == "g" { list.kind(text) } else { list.text(text) }
            }
        });
        message.align(8);
        message.bytes.extend_from_slice(&self.bytes);
        message.bytes
    }
}

/// How long the whole message is of which this is the beginning.
pub(crate) fn length(prefix: &[u8; PREFIX]) -> Result<usize, BusError> {
    if prefix[0] != ORDER || prefix[3] != 1 {
        return Err(BusError::Malformed("another byte order or version"));
    }
    let mut numbers = Reader { bytes: prefix, at: 4 };
    let (body, _, fields) = (numbers.number()?, numbers.number()?, numbers.number()?);
    let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let whole = size(fields).saturating_add(PREFIX).checked_next_multiple_of(8);
    let whole = whole.and_then(|header| header.checked_add(size(body))).filter(|whole| *whole <= LARGEST);
    whole.ok_or(BusError::Malformed("a message that is too large"))
}

impl Message {
    /// Reads a whole message.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, BusError> {
        let mut reader = Reader { bytes, at: 12 };
        let end = reader.number()?.try_into().unwrap_or(usize::MAX).saturating_add(PREFIX);
        let kind = match bytes[1] {
            2 => Kind::Return,
            3 => Kind::Error,
            4 => Kind::Signal,
            _ => Kind::Other,
        };
        let mut message = Self {
            kind,
            answers: None,
            error: String::new(),
            interface: String::new(),
            member: String::new(),
            signature: String::new(),
            body: Vec::new(),
        };
        while reader.at < end {
            reader.align(8);
            let code = reader.byte()?;
            match (code, reader.signature()?) {
                (5, "u") => message.answers = Some(reader.number()?),
                (4, "s") => message.error = reader.text()?.to_owned(),
                (2, "s") => message.interface = reader.text()?.to_owned(),
                (3, "s") => message.member = reader.text()?.to_owned(),
                (8, "g") => message.signature = reader.signature()?.to_owned(),
                (_, "u") => drop(reader.number()?),
                (_, "s" | "o") => drop(reader.text()?),
                (_, "g") => drop(reader.signature()?),
                _ => return Err(BusError::Malformed("a field of an unknown type")),
            }
        }
        reader.align(8);
        message.body = bytes.get(reader.at..).unwrap_or_default().to_vec();
        Ok(message)
    }

    /// The first value of the body, where it is a string or an object path.
    pub(crate) fn first_text(&self) -> Option<&str> {
        let reads = self.signature.starts_with(['s', 'o']);
        reads.then(|| Reader { bytes: &self.body, at: 0 }.text().ok())?
    }

    /// A body of a number and three strings or object paths, as that of `JobRemoved`: the three.
    pub(crate) fn job(&self) -> Option<[&str; 3]> {
        let mut reader = Reader { bytes: &self.body, at: 0 };
        let mut read = || {
            reader.number()?;
            Ok::<_, BusError>([reader.text()?, reader.text()?, reader.text()?])
        };
        (self.signature == "uoss").then(|| read().ok())?
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], BusError> {
        let end = self.at.checked_add(count);
        let taken =
            end.and_then(|end| self.bytes.get(self.at..end)).ok_or(BusError::Malformed("a cut message"))?;
        self.at += count;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, BusError> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> Result<u32, BusError> {
        self.align(4);
        let mut number = [0; 4];
        number.copy_from_slice(self.take(4)?);
        Ok(u32::from_ne_bytes(number))
    }

    /// So many bytes of text, and the zero behind it.
    fn chars(&mut self, count: usize) -> Result<&'a str, BusError> {
        let text =
            std::str::from_utf8(self.take(count)?).map_err(|_| BusError::Malformed("text that is none"))?;
        self.byte()?;
        Ok(text)
    }

    fn text(&mut self) -> Result<&'a str, BusError> {
        let count = self.number()?;
        self.chars(usize::try_from(count).unwrap_or(usize::MAX))
    }

    fn signature(&mut self) -> Result<&'a str, BusError> {
        let count = self.byte()?;
        self.chars(count.into())
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
pub(crate) mod tests;
