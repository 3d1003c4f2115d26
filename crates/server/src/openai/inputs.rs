//! Texts or tokens, one or many: the prompts of completions and the inputs of embeddings.

use super::sampling::check_token_ids;
use crate::error::ApiError;
use crate::state::Served;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type};

/// One text or its tokens, or at most `MAX` of either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs<const MAX: usize> {
    items: Vec<Input>,
    /// Whether they came as a list of texts or of token lists.
    many: bool,
}

/// A text or its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A text.
    Text(String),
    /// Tokens.
    Tokens(Vec<u32>),
}

/// A tokenized input.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// Its text, if it came as one.
    pub text: Option<String>,
    /// Its tokens, at least one.
    pub tokens: Vec<u32>,
}

impl<const MAX: usize> Inputs<MAX> {
    /// Takes the inputs out and leaves none.
    pub fn take(&mut self) -> Inputs<MAX> {
        Inputs { items: std::mem::take(&mut self.items), many: self.many }
    }
}

/// Tokenizes the inputs of the field `param`. It takes its time: not for async threads.
pub fn tokenize<const MAX: usize>(
    inputs: Inputs<MAX>,
    param: &str,
    served: &Served,
    encode: impl Fn(&str, &Served) -> Vec<u32>,
) -> Result<Vec<Prompt>, ApiError> {
    if inputs.items.is_empty() {
        return Err(ApiError::invalid(param, "the list is empty"));
    }
    let many = inputs.many;
    let name = |index: usize| if many { format!("{param}[{index}]") } else { param.to_owned() };
    let prompt = |(index, input): (usize, Input)| {
        let (text, tokens) = match input {
            Input::Text(text) if text.is_empty() => {
                return Err(ApiError::invalid(name(index), "the text is empty"));
            }
            Input::Text(text) => {
                let tokens = encode(&text, served);
                (Some(text), tokens)
            }
            Input::Tokens(tokens) => {
                check_token_ids(&name(index), &tokens, served)?;
                (None, tokens)
            }
        };
        if tokens.is_empty() {
            return Err(ApiError::invalid(name(index), "there is no token in it"));
        }
        Ok(Prompt { text, tokens })
    };
    inputs.items.into_iter().enumerate().map(prompt).collect()
}

/// An element of the list: what the first one is decides what the list is.
enum Element {
    Text(String),
    Token(u32),
    Tokens(Vec<u32>),
}

impl<'de, const MAX: usize> Deserialize<'de> for Inputs<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<const MAX: usize>;
        impl<'de, const MAX: usize> Visitor<'de> for Read<MAX> {
            type Value = Inputs<MAX>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "a string, a list of token ids, or a list of at most {MAX} strings or token lists")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Inputs { items: vec![Input::Text(text.to_owned())], many: false })
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                let mut alone = Vec::new();
                while let Some(element) = seq.next_element()? {
                    match element {
                        Element::Token(id) if items.is_empty() => alone.push(id),
                        Element::Text(text) if alone.is_empty() => items.push(Input::Text(text)),
                        Element::Tokens(ids) if alone.is_empty() => items.push(Input::Tokens(ids)),
                        _ => {
                            return Err(A::Error::custom("token ids and whole inputs are mixed in one list"));
                        }
                    }
                    if items.len() > MAX {
                        return Err(A::Error::custom(format_args!("more than {MAX} inputs")));
                    }
                }
                Ok(match alone.is_empty() {
                    true => Inputs { items, many: true },
                    false => Inputs { items: vec![Input::Tokens(alone)], many: false },
                })
            }
        }
        deserializer.deserialize_any(Read::<MAX>)
    }
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Element;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a string, a token id or a list of token ids")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Element, E> {
                Ok(Element::Text(text.to_owned()))
            }
            fn visit_u64<E: Error>(self, id: u64) -> Result<Element, E> {
                u32::try_from(id)
                    .map(Element::Token)
                    .map_err(|_| E::custom(format_args!("{id} is not a token id")))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Element, A::Error> {
                Vec::<u32>::deserialize(SeqAccessDeserializer::new(seq)).map(Element::Tokens)
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// The schema of [`Inputs`].
pub fn schema() -> Schema {
    let text = || ObjectBuilder::new().schema_type(SchemaType::Type(Type::String)).min_length(Some(1));
    let token = || ObjectBuilder::new().schema_type(SchemaType::Type(Type::Integer)).minimum(Some(0));
    let list = |item: Schema| ArrayBuilder::new().items(RefOr::T(item)).min_items(Some(1));
    OneOfBuilder::new()
        .item(text())
        .item(list(text().into()))
        .item(list(token().into()))
        .item(list(list(token().into()).into()))
        .build()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Inputs<2>, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn all_four_forms_are_read() {
        let text = |text: &str| Input::Text(text.to_owned());
        for (body, items, many) in [
            (r#""a""#, vec![text("a")], false),
            (r#"["a", "b"]"#, vec![text("a"), text("b")], true),
            ("[1, 2, 3]", vec![Input::Tokens(vec![1, 2, 3])], false),
            ("[[1], [2, 3]]", vec![Input::Tokens(vec![1]), Input::Tokens(vec![2, 3])], true),
            ("[]", vec![], true),
        ] {
            assert_eq!(read(body).expect(body), Inputs { items, many }, "{body}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for body in [
            r#"["a", 1]"#,
            r#"[1, "a"]"#,
            "[1.5]",
            "[-1]",
            "[4294967296]",
            "1",
            "{}",
            "[[[1]]]",
            "[[1],[2],[3]]",
            "[null]",
        ] {
            assert!(read(body).is_err(), "{body}");
        }
    }
}
