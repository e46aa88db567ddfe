//! What becomes of every field of `PodSandboxConfig`, `ContainerConfig` and `PullImageRequest`. The descriptors are
//! walked: a field without a row fails the test, and every row is proven by a request with that field set.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bad;
mod container;
mod map;
mod pull;
mod sandbox;

use super::DecodeError;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// What becomes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Changes what is made; the model has it.
    Honoured,
    /// Only kept and shown; the model has it.
    Stored,
    /// Checked and needed no longer: it says nothing that this runtime acts on or shows.
    Checked,
    /// Refused by name when it is set.
    Refused,
}

use Verdict::{Checked, Honoured, Refused, Stored};

/// A field, its verdict, what has to be set beside it, and a value for it, both in the text format. A path that
/// ends in `.*` stands for all fields below; their values are made up.
type Row = (&'static str, Verdict, &'static str, &'static str);

/// The interface, compiled once: where debug code runs in an emulator that takes seconds.
fn pool() -> DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        let proto = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto");
        DescriptorPool::from_file_descriptor_set(protox::compile(["api.proto"], [proto]).unwrap()).unwrap()
    });
    POOL.clone()
}

/// Every field below a message. Maps and the wrapper of an integer are one value each.
fn walk(
    message: &MessageDescriptor,
    prefix: &str,
    skip: &str,
    into: &mut Vec<(String, Vec<FieldDescriptor>)>,
) {
    for field in message.fields() {
        let path =
            if prefix.is_empty() { field.name().to_owned() } else { format!("{prefix}.{}", field.name()) };
        match field.kind() {
            Kind::Message(inner)
                if !field.is_map() && inner.name() != "Int64Value" && inner.full_name() != skip =>
            {
                let from = into.len();
                walk(&inner, &path, skip, into);
                for (_, steps) in &mut into[from..] {
                    steps.insert(0, field.clone());
                }
            }
            _ => into.push((path, vec![field])),
        }
    }
}

/// A message in which only the field at the end of the steps is set.
fn only(message: MessageDescriptor, steps: &[FieldDescriptor]) -> DynamicMessage {
    let mut result = DynamicMessage::new(message);
    let (field, rest) = steps.split_first().unwrap();
    let value = match field.kind() {
        Kind::Message(inner) if !rest.is_empty() => Value::Message(only(inner, rest)),
        Kind::Message(inner) => Value::Message(DynamicMessage::new(inner)),
        Kind::String => Value::String("x".into()),
        Kind::Bool => Value::Bool(true),
        Kind::Int64 => Value::I64(1),
        Kind::Uint32 => Value::U32(1),
        Kind::Uint64 => Value::U64(1),
        Kind::Enum(_) => Value::EnumNumber(1),
        other => panic!("no value for {other:?}"),
    };
    let value = if field.is_map() {
        Value::Map([(MapKey::String("k".into()), Value::String("v".into()))].into())
    } else if field.is_list() {
        Value::List(vec![value])
    } else {
        value
    };
    result.set_field(field, value);
    result
}

/// The path of an error's field, without the root and without indices and keys.
fn plain_path(error: &DecodeError) -> String {
    let (DecodeError::Missing { field }
    | DecodeError::Invalid { field, .. }
    | DecodeError::Unsupported { field }) = error;
    let mut depth = 0;
    let without: String = field
        .chars()
        .filter(|c| {
            depth += i32::from(*c == '[');
            let keep = depth == 0;
            depth -= i32::from(*c == ']');
            keep
        })
        .collect();
    without
}

/// Checks one table. Messages merge when their bytes are joined, which is how a row's field comes to the base.
fn check<M, R>(
    message: &str,
    base: &str,
    skip: &str,
    table: &[Row],
    decode: impl Fn(M) -> Result<R, DecodeError>,
) where
    M: Message + Default,
    R: PartialEq + std::fmt::Debug,
{
    let descriptor = pool().get_message_by_name(&format!("runtime.v1.{message}")).unwrap();
    let parse = |text: &str| {
        DynamicMessage::parse_text_format(descriptor.clone(), text)
            .unwrap_or_else(|error| panic!("{text}: {error}"))
            .encode_to_vec()
    };
    let run = |parts: &[&[u8]]| decode(M::decode(parts.concat().as_slice()).unwrap());
    let base = parse(base);
    assert!(run(&[&base]).is_ok(), "{:?}", run(&[&base]));

    let mut fields = Vec::new();
    walk(&descriptor, "", skip, &mut fields);
    let mut proven = BTreeSet::new();
    for (path, verdict, beside, value) in table {
        if let Some(group) = path.strip_suffix(".*") {
            assert_eq!(*verdict, Refused, "only refused fields go by groups");
            for (path, steps) in fields.iter().filter(|(path, _)| path.starts_with(&format!("{group}."))) {
                let set = only(descriptor.clone(), steps).encode_to_vec();
                refused(path, run(&[&base, &set]));
                assert!(proven.insert(path.clone()), "{path} is there twice");
            }
            continue;
        }
        let (beside, set) = (parse(beside), parse(value));
        let without = run(&[&base, &beside]);
        let with = run(&[&base, &beside, &set]);
        match verdict {
            Refused => refused(path, with),
            Checked => assert!(with.is_ok() && with == without, "{path}: {with:?}"),
            Honoured | Stored => {
                assert!(with.is_ok(), "{path}: {with:?}");
                assert_ne!(with, without, "{path} makes no difference");
            }
        }
        assert!(proven.insert((*path).to_owned()), "{path} is there twice");
    }
    let known: BTreeSet<String> = fields.into_iter().map(|(path, _)| path).collect();
    let missing: Vec<_> = known.difference(&proven).collect();
    let unknown: Vec<_> = proven.difference(&known).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "without a row: {missing:#?}\nno field: {unknown:#?}");
}

/// The error names the field, or the message that is refused as a whole.
fn refused<R: std::fmt::Debug>(path: &str, result: Result<R, DecodeError>) {
    let error = result.expect_err(path);
    let full = format!("config.{path}");
    let named = plain_path(&error);
    let names = full == named || full.starts_with(&format!("{named}.")) || path == named;
    assert!(names, "{path}: {error}");
}
