//! Shapes of fields that requests have in common, bounded while they are read.

use crate::error::ApiError;
use crate::limits::MAX_METADATA;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type};

/// Nesting of a JSON value that is kept as such (a tool's parameters).
const MAX_JSON_DEPTH: usize = 64;
/// Values inside a JSON value that is kept as such: a tree takes many times its text's memory.
const MAX_JSON_NODES: usize = 20_000;

/// A list of at most `MAX` items.
#[derive(Clone, Debug, PartialEq)]
pub struct Items<T, const MAX: usize>(pub Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Items<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Read<T, MAX> {
            type Value = Vec<T>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "a list of at most {MAX} items")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Vec<T>, A::Error> {
                read_items(seq, MAX)
            }
        }
        deserializer.deserialize_seq(Read::<T, MAX>(PhantomData)).map(Items)
    }
}

fn read_items<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(
    mut seq: A,
    max: usize,
) -> Result<Vec<T>, A::Error> {
    let mut items = Vec::new();
    while let Some(item) = seq.next_element()? {
        if items.len() == max {
            return Err(A::Error::custom(format_args!("more than {max} items")));
        }
        items.push(item);
    }
    Ok(items)
}

/// An object of at most `MAX` entries with values of one type.
#[derive(Clone, Debug, PartialEq)]
pub struct Entries<V, const MAX: usize>(pub BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Entries<V, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<V, const MAX: usize>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>, const MAX: usize> Visitor<'de> for Read<V, MAX> {
            type Value = BTreeMap<String, V>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "an object of at most {MAX} entries")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((key, value)) = map.next_entry()? {
                    if entries.len() == MAX {
                        return Err(A::Error::custom(format_args!("more than {MAX} entries")));
                    }
                    entries.insert(key, value);
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(Read::<V, MAX>(PhantomData)).map(Entries)
    }
}

/// A string or a list of `T`, which are read from strings too.
#[derive(Clone, Debug, PartialEq)]
pub enum OneOrMany<T, const MAX: usize> {
    /// A string alone.
    One(T),
    /// A list.
    Many(Vec<T>),
}

impl<T, const MAX: usize> OneOrMany<T, MAX> {
    /// All of them.
    pub fn into_vec(self) -> Vec<T> {
        match self {
            OneOrMany::One(item) => vec![item],
            OneOrMany::Many(items) => items,
        }
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for OneOrMany<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Read<T, MAX> {
            type Value = OneOrMany<T, MAX>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "a string or a list of at most {MAX} items")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                T::deserialize(StrDeserializer::new(text)).map(OneOrMany::One)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                read_items(seq, MAX).map(OneOrMany::Many)
            }
        }
        deserializer.deserialize_any(Read::<T, MAX>(PhantomData))
    }
}

/// The presence of a field that is not offered; its value is skipped and never kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

impl<'de> Deserialize<'de> for Refused {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|IgnoredAny| Refused)
    }
}

/// A JSON value that is kept as it is, with its keys in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Json(pub Value);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut nodes = 0;
        Node { nodes: &mut nodes, depth: 0 }.deserialize(deserializer).map(Json)
    }
}

/// A value inside a [`Json`], which counts against the whole's bounds.
struct Node<'a> {
    nodes: &'a mut usize,
    depth: usize,
}

impl Node<'_> {
    fn inner(&mut self) -> Node<'_> {
        Node { nodes: self.nodes, depth: self.depth + 1 }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        *self.nodes += 1;
        if *self.nodes > MAX_JSON_NODES {
            return Err(D::Error::custom(format_args!("more than {MAX_JSON_NODES} values")));
        }
        if self.depth > MAX_JSON_DEPTH {
            return Err(D::Error::custom(format_args!("nested more than {MAX_JSON_DEPTH} deep")));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any JSON value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self.inner())? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }
    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            object.insert(key, map.next_value_seed(self.inner())?);
        }
        Ok(Value::Object(object))
    }
}

/// What goes with `stream: true`.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
pub struct StreamOptions {
    /// A last chunk tells the usage of the whole request.
    pub include_usage: Option<bool>,
    /// Padding against traffic analysis; only `false` is supported.
    #[schema(schema_with = only_false)]
    pub include_obfuscation: Option<bool>,
}

impl StreamOptions {
    /// Whether a stream ends with the usage.
    pub fn usage(options: Option<&StreamOptions>, stream: bool) -> Result<bool, ApiError> {
        match options {
            None => Ok(false),
            Some(_) if !stream => {
                Err(ApiError::invalid("stream_options", "only together with `stream: true`"))
            }
            Some(options) if options.include_obfuscation == Some(true) => {
                Err(ApiError::unsupported("stream_options.include_obfuscation", "send false or leave it out"))
            }
            Some(options) => Ok(options.include_usage.unwrap_or(false)),
        }
    }
}

/// Schema of a documented field that is not offered: it may be absent or null.
pub fn refused() -> Schema {
    let description =
        "Not offered by this server: anything but null is refused with an error that names the field.";
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::Null))
        .description(Some(description))
        .build()
        .into()
}

/// Schema of a switch that can only be off.
pub fn only_false() -> Schema {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Boolean, Type::Null]))
        .enum_values(Some([Value::Bool(false), Value::Null]))
        .build()
        .into()
}

/// Schema of stop strings.
pub fn stop_strings() -> Schema {
    let text = || {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .min_length(Some(1))
            .max_length(Some(engine::limits::MAX_STOP_BYTES))
    };
    OneOfBuilder::new()
        .item(ObjectBuilder::new().schema_type(SchemaType::Type(Type::Null)))
        .item(text())
        .item(ArrayBuilder::new().items(text()).max_items(Some(engine::limits::MAX_STOP_STRINGS)))
        .description(Some("Texts that end the answer; they are not part of it."))
        .build()
        .into()
}

/// Schema of `logit_bias`.
pub fn logit_bias() -> Schema {
    let bias = ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::Number))
        .minimum(Some(-100))
        .maximum(Some(100));
    entries(bias, engine::limits::MAX_LOGIT_BIAS, "Token ids and what is added to their logits.")
}

/// Schema of `metadata`.
pub fn metadata() -> Schema {
    let text = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String)).max_length(Some(512));
    entries(text, MAX_METADATA, "Metadata for the caller's own use.")
}

fn entries(value: ObjectBuilder, max: usize, description: &str) -> Schema {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        .additional_properties(Some(value))
        .max_properties(Some(max))
        .description(Some(description))
        .build()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_objects_end_at_their_bound() {
        assert!(serde_json::from_str::<Items<u32, 2>>("[1, 2]").is_ok());
        assert!(serde_json::from_str::<Items<u32, 2>>("[1, 2, 3]").is_err());
        assert!(serde_json::from_str::<OneOrMany<String, 1>>(r#"["a", "b"]"#).is_err());
        assert_eq!(
            serde_json::from_str::<OneOrMany<String, 1>>(r#""a""#).map(OneOrMany::into_vec).ok(),
            Some(vec!["a".to_owned()])
        );
        assert!(serde_json::from_str::<Entries<f64, 1>>(r#"{"1": 1}"#).is_ok());
        assert!(serde_json::from_str::<Entries<f64, 1>>(r#"{"1": 1, "2": 1}"#).is_err());
    }

    #[test]
    fn kept_json_is_the_same_and_bounded() {
        let text = r#"{"b":[1,-2,1.5,null,true,"x"],"a":{}}"#;
        let kept = serde_json::from_str::<Json>(text).expect("JSON");
        assert_eq!(kept.0.to_string(), text);
        let wide = format!("[{}0]", "0,".repeat(MAX_JSON_NODES));
        assert!(serde_json::from_str::<Json>(&wide).is_err());
        let deep = format!("{}{}", "[".repeat(MAX_JSON_DEPTH + 2), "]".repeat(MAX_JSON_DEPTH + 2));
        assert!(serde_json::from_str::<Json>(&deep).is_err());
    }
}
