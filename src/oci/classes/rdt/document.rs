//! The form of goresctrl's RDT files, as it is written. Everything that is not of it is refused by name.

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use std::collections::BTreeMap;
use std::fmt;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Document {
    pub(super) options: Option<Options>,
    pub(super) partitions: Option<BTreeMap<String, Option<Partition>>>,
}

/// Whether a host may lack what classes are given of it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    pub(super) l2: Option<Lack>,
    pub(super) l3: Option<Lack>,
    pub(super) mb: Option<Lack>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Lack {
    pub(super) optional: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Partition {
    #[serde(rename = "l2Allocation", deserialize_with = "present")]
    pub(super) l2: Option<Cache>,
    #[serde(rename = "l3Allocation", deserialize_with = "present")]
    pub(super) l3: Option<Cache>,
    #[serde(rename = "mbAllocation", deserialize_with = "present")]
    pub(super) mb: Option<Bandwidth>,
    pub(super) classes: Option<BTreeMap<String, Option<Class>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Class {
    #[serde(rename = "l2Allocation", deserialize_with = "present")]
    pub(super) l2: Option<Cache>,
    #[serde(rename = "l3Allocation", deserialize_with = "present")]
    pub(super) l3: Option<Cache>,
    #[serde(rename = "mbAllocation", deserialize_with = "present")]
    pub(super) mb: Option<Bandwidth>,
    pub(super) kubernetes: Option<Kubernetes>,
}

/// Whose annotations may not ask for the class.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct Kubernetes {
    pub(super) deny_pod_annotation: Option<bool>,
    pub(super) deny_container_annotation: Option<bool>,
}

/// Shares of a cache by its ids; one share alone is that of all.
#[derive(Debug, Default)]
pub(super) struct Cache(pub(super) BTreeMap<String, Shares>);

/// What code and data get together, or each.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Split {
    unified: Option<Text>,
    code: Option<Text>,
    data: Option<Text>,
}

/// Shares of one cache.
#[derive(Debug, Default)]
pub(super) struct Shares {
    pub(super) unified: Option<String>,
    pub(super) code: Option<String>,
    pub(super) data: Option<String>,
}

/// Bandwidths by ids of caches; a list alone is that of all.
#[derive(Debug, Default)]
pub(super) struct Bandwidth(pub(super) BTreeMap<String, Vec<String>>);

/// Text and nothing that YAML takes for a number: 0xff and 10 would be other bits than "0xff" and "10".
#[derive(Debug)]
struct Text(String);

/// A key without a value says that all of it is meant, and not that nothing is said.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Text;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("text such as \"60%\", in quotes where it would be a number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }
        }
        from.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Shares {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Shares;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a share such as \"60%\", or unified, code and data")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Shares, E> {
                Ok(Shares { unified: Some(text.to_owned()), ..Shares::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Shares, A::Error> {
                let Split { unified, code, data } = Split::deserialize(MapAccessDeserializer::new(map))?;
                let [unified, code, data] = [unified, code, data].map(|text| text.map(|Text(text)| text));
                Ok(Shares { unified, code, data })
            }
        }
        from.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Cache {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Cache;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a share such as \"60%\", or shares by ids of caches")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Cache, E> {
                Ok(Cache::default())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Cache, E> {
                let all = Shares { unified: Some(text.to_owned()), ..Shares::default() };
                Ok(Cache([(super::ids::ALL.to_owned(), all)].into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Cache, A::Error> {
                by_ids(map).map(Cache)
            }
        }
        from.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Bandwidth {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Bandwidth;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a list such as [\"50%\", \"1000MBps\"], or lists by ids of caches")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Bandwidth, E> {
                Ok(Bandwidth::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Bandwidth, A::Error> {
                let mut all = Vec::new();
                while let Some(Text(text)) = list.next_element()? {
                    all.push(text);
                }
                Ok(Bandwidth([(super::ids::ALL.to_owned(), all)].into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Bandwidth, A::Error> {
                let lists = by_ids::<Vec<Text>, A>(map)?.into_iter();
                let plain = |list: Vec<Text>| list.into_iter().map(|Text(text)| text).collect();
                Ok(Bandwidth(lists.map(|(ids, list)| (ids, plain(list))).collect()))
            }
        }
        from.deserialize_any(Reader)
    }
}

fn by_ids<'de, T: Deserialize<'de>, A: MapAccess<'de>>(mut map: A) -> Result<BTreeMap<String, T>, A::Error> {
    let mut found = BTreeMap::new();
    while let Some(ids) = map.next_key::<String>()? {
        if found.contains_key(&ids) {
            return Err(A::Error::custom(format_args!("{ids:?} is there twice")));
        }
        found.insert(ids, map.next_value()?);
    }
    Ok(found)
}
