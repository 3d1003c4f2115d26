//! Reading `tokenizer.json`.

use super::added::AddedToken;
use super::detokenizer::Decoding;
use super::limits::{MAX_FILE_BYTES, MAX_MERGES, MAX_STEP_BYTES, MAX_TOKENS};
use super::normalizer::Normalizer;
use super::spec::Spec;
use super::split::{GPT2_PATTERN, Keep, META_SPACE, Prefix, Prepare, Splitter};
use super::{TokenizerError, shorten};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

/// The whole file. Truncation and padding are not read: a prompt is never cut silently.
#[derive(Deserialize)]
struct File<'a> {
    #[serde(default)]
    added_tokens: Vec<AddedSpec>,
    #[serde(borrow, default)]
    normalizer: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pre_tokenizer: Option<&'a RawValue>,
    #[serde(borrow, default)]
    post_processor: Option<&'a RawValue>,
    #[serde(borrow, default)]
    decoder: Option<&'a RawValue>,
    #[serde(borrow)]
    model: ModelSpec<'a>,
}

#[derive(Deserialize)]
struct AddedSpec {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
    #[serde(default)]
    normalized: bool,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
}

#[derive(Deserialize)]
struct ModelSpec<'a> {
    /// Old files leave it out; then it is `BPE` if there are merges.
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(borrow, default)]
    vocab: Vocab<'a>,
    #[serde(borrow, default)]
    merges: Option<Merges<'a>>,
    #[serde(default)]
    unk_token: Option<String>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    fuse_unk: Option<bool>,
    #[serde(default)]
    byte_fallback: Option<bool>,
    #[serde(default)]
    ignore_merges: Option<bool>,
}

#[derive(Deserialize)]
enum Pattern {
    String(String),
    Regex(String),
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum NormalizerSpec {
    #[serde(rename = "NFC")]
    Nfc,
    #[serde(rename = "NFD")]
    Nfd,
    #[serde(rename = "NFKC")]
    Nfkc,
    #[serde(rename = "NFKD")]
    Nfkd,
    Prepend {
        prepend: String,
    },
    Replace {
        pattern: Pattern,
        content: String,
    },
    Sequence {
        normalizers: Vec<NormalizerSpec>,
    },
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum PreTokenizerSpec {
    ByteLevel {
        add_prefix_space: bool,
        #[serde(default = "yes")]
        use_regex: bool,
    },
    Split {
        pattern: Pattern,
        behavior: Behavior,
        invert: bool,
    },
    Metaspace {
        replacement: char,
        #[serde(default)]
        add_prefix_space: Option<bool>,
        #[serde(default)]
        prepend_scheme: Option<PrependScheme>,
        #[serde(default = "yes")]
        split: bool,
    },
    Digits {
        individual_digits: bool,
    },
    Sequence {
        pretokenizers: Vec<PreTokenizerSpec>,
    },
}

#[derive(Deserialize, PartialEq)]
enum Behavior {
    Isolated,
    Removed,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum PrependScheme {
    First,
    Never,
    Always,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum DecoderSpec {
    ByteLevel {},
    Metaspace {
        replacement: char,
        #[serde(default)]
        prepend_scheme: Option<PrependScheme>,
    },
    Replace {
        pattern: Pattern,
        content: String,
    },
    ByteFallback {},
    Fuse {},
    Strip {
        content: char,
        start: usize,
        stop: usize,
    },
    Sequence {
        decoders: Vec<DecoderSpec>,
    },
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum PostProcessorSpec {
    ByteLevel {},
    TemplateProcessing { single: Vec<TemplatePiece>, special_tokens: HashMap<String, TemplateToken> },
    RobertaProcessing { sep: (String, u32), cls: (String, u32) },
    BertProcessing { sep: (String, u32), cls: (String, u32) },
    Sequence { processors: Vec<PostProcessorSpec> },
}

#[derive(Deserialize)]
enum TemplatePiece {
    Sequence {},
    SpecialToken { id: String },
}

#[derive(Deserialize)]
struct TemplateToken {
    ids: Vec<u32>,
}

fn yes() -> bool {
    true
}

/// Reads a whole file.
pub(super) fn read(json: &[u8]) -> Result<Spec<'_>, TokenizerError> {
    if json.len() > MAX_FILE_BYTES {
        return Err(TokenizerError::TooLarge {
            what: "bytes of tokenizer.json",
            found: json.len(),
            limit: MAX_FILE_BYTES,
        });
    }
    let file: File = serde_json::from_slice(json)
        .map_err(|error| TokenizerError::Malformed { part: "tokenizer.json", message: error.to_string() })?;
    let model = check_model(file.model)?;

    let mut normalizers = Vec::new();
    if let Some(spec) = step("normalizer", file.normalizer)? {
        add_normalizer(spec, &mut normalizers)?;
    }
    let mut splitting = Splitting::default();
    if let Some(spec) = step("pre_tokenizer", file.pre_tokenizer)? {
        splitting.add(spec)?;
    }
    let (mut prefix, mut suffix) = (Vec::new(), Vec::new());
    if let Some(spec) = step("post_processor", file.post_processor)? {
        add_post_processor(spec, &mut prefix, &mut suffix)?;
    }
    let decoding = decoding(step("decoder", file.decoder)?)?;

    Ok(Spec {
        tokens: model.vocab.0,
        merges: model.merges.unwrap_or_default().0,
        added: file.added_tokens.into_iter().map(AddedToken::from).collect(),
        normalizers,
        prepare: splitting.prepare,
        splitters: splitting.splitters,
        byte_level: splitting.byte_level,
        byte_fallback: model.byte_fallback.unwrap_or(false),
        unknown: model.unk_token,
        fuse_unknown: model.fuse_unk.unwrap_or(false),
        whole_pieces: model.ignore_merges.unwrap_or(false),
        decoding,
        prefix,
        suffix,
    })
}

/// The model, if it is one that this tokenizer can compute.
fn check_model(model: ModelSpec<'_>) -> Result<ModelSpec<'_>, TokenizerError> {
    let kind = model.kind.as_deref().unwrap_or(if model.merges.is_some() { "BPE" } else { "without a type" });
    if kind != "BPE" {
        return Err(TokenizerError::Unsupported { part: "model", found: shorten(kind), known: "BPE" });
    }
    for (name, affix) in [
        ("continuing_subword_prefix", &model.continuing_subword_prefix),
        ("end_of_word_suffix", &model.end_of_word_suffix),
    ] {
        if let Some(affix) = affix.as_deref().filter(|affix| !affix.is_empty()) {
            let found = format!("{name} = {:?}", shorten(affix));
            return Err(TokenizerError::Unsupported { part: "model", found, known: "BPE without affixes" });
        }
    }
    Ok(model)
}

/// The description of one step; its size is checked first, since it is held in memory several times.
fn step<T: DeserializeOwned>(
    part: &'static str,
    json: Option<&RawValue>,
) -> Result<Option<T>, TokenizerError> {
    let Some(json) = json.map(RawValue::get) else { return Ok(None) };
    if json.len() > MAX_STEP_BYTES {
        return Err(TokenizerError::TooLarge { what: part, found: json.len(), limit: MAX_STEP_BYTES });
    }
    // the message of an unknown `type` names it and lists the known ones
    serde_json::from_str(json)
        .map_err(|error| TokenizerError::Malformed { part, message: shorten(&error.to_string()) })
}

fn add_normalizer(spec: NormalizerSpec, normalizers: &mut Vec<Normalizer>) -> Result<(), TokenizerError> {
    normalizers.push(match spec {
        NormalizerSpec::Nfc => Normalizer::Nfc,
        NormalizerSpec::Nfd => Normalizer::Nfd,
        NormalizerSpec::Nfkc => Normalizer::Nfkc,
        NormalizerSpec::Nfkd => Normalizer::Nfkd,
        NormalizerSpec::Prepend { prepend } => Normalizer::Prepend(prepend),
        NormalizerSpec::Replace { pattern: Pattern::String(from), content } if !from.is_empty() => {
            Normalizer::Replace(from, content)
        }
        NormalizerSpec::Replace { .. } => {
            return Err(TokenizerError::Unsupported {
                part: "normalizer",
                found: "Replace with a pattern".into(),
                known: "Replace with a text",
            });
        }
        NormalizerSpec::Sequence { normalizers: specs } => {
            return specs.into_iter().try_for_each(|spec| add_normalizer(spec, normalizers));
        }
    });
    Ok(())
}

/// The pre-tokenizers read so far.
struct Splitting {
    prepare: Prepare,
    splitters: Vec<Splitter>,
    byte_level: bool,
}

impl Default for Splitting {
    fn default() -> Self {
        let prepare = Prepare { prefix: Prefix::None, meta_space: false };
        Splitting { prepare, splitters: Vec::new(), byte_level: false }
    }
}

impl Splitting {
    fn add(&mut self, spec: PreTokenizerSpec) -> Result<(), TokenizerError> {
        let first = self.splitters.is_empty() && !self.byte_level;
        let misplaced = |found: &str, known| {
            Err(TokenizerError::Unsupported { part: "pre_tokenizer", found: found.into(), known })
        };
        if self.byte_level && !matches!(spec, PreTokenizerSpec::Sequence { .. }) {
            return misplaced("a step after ByteLevel", "ByteLevel last");
        }
        match spec {
            PreTokenizerSpec::ByteLevel { add_prefix_space, use_regex } => {
                if add_prefix_space && !first {
                    return misplaced("ByteLevel with add_prefix_space after another step", "it first");
                }
                if add_prefix_space {
                    self.prepare.prefix = Prefix::Always;
                }
                if use_regex {
                    self.splitters.push(Splitter::pattern(GPT2_PATTERN, Keep::Both)?);
                }
                self.byte_level = true;
            }
            PreTokenizerSpec::Split { pattern, behavior, invert } => {
                let pattern = match pattern {
                    Pattern::Regex(pattern) => pattern,
                    Pattern::String(text) => fancy_regex::escape(&text).into_owned(),
                };
                let keep = match (behavior, invert) {
                    (Behavior::Isolated, _) => Keep::Both,
                    (Behavior::Removed, false) => Keep::Gaps,
                    (Behavior::Removed, true) => Keep::Matches,
                };
                self.splitters.push(Splitter::pattern(&pattern, keep)?);
            }
            PreTokenizerSpec::Metaspace { replacement, add_prefix_space, prepend_scheme, split } => {
                if replacement != META_SPACE || !first {
                    return misplaced(
                        "Metaspace with another mark or after another step",
                        "it first, with ▁",
                    );
                }
                self.prepare.meta_space = true;
                self.prepare.prefix = match (add_prefix_space, prepend_scheme) {
                    (Some(false), _) | (_, Some(PrependScheme::Never)) => Prefix::None,
                    (_, Some(PrependScheme::First)) => Prefix::First,
                    _ => Prefix::Always,
                };
                if split {
                    self.splitters.push(Splitter::Words);
                }
            }
            PreTokenizerSpec::Digits { individual_digits } => {
                self.splitters.push(Splitter::Digits { single: individual_digits });
            }
            PreTokenizerSpec::Sequence { pretokenizers } => {
                return pretokenizers.into_iter().try_for_each(|spec| self.add(spec));
            }
        }
        Ok(())
    }
}

fn add_post_processor(
    spec: PostProcessorSpec,
    prefix: &mut Vec<u32>,
    suffix: &mut Vec<u32>,
) -> Result<(), TokenizerError> {
    let malformed = |message: String| TokenizerError::Malformed { part: "post_processor", message };
    match spec {
        PostProcessorSpec::ByteLevel {} => {}
        PostProcessorSpec::RobertaProcessing { sep, cls }
        | PostProcessorSpec::BertProcessing { sep, cls } => {
            prefix.insert(0, cls.1);
            suffix.push(sep.1);
        }
        PostProcessorSpec::TemplateProcessing { single, special_tokens } => {
            let (mut before, mut after, mut texts) = (Vec::new(), Vec::new(), 0);
            for piece in single {
                match piece {
                    TemplatePiece::Sequence {} => texts += 1,
                    TemplatePiece::SpecialToken { id } => {
                        let token = special_tokens.get(&id).ok_or_else(|| {
                            malformed(format!(
                                "its template uses {:?}, which special_tokens lacks",
                                shorten(&id)
                            ))
                        })?;
                        if texts == 0 { &mut before } else { &mut after }.extend(&token.ids);
                    }
                }
            }
            if texts != 1 {
                return Err(malformed(format!("its template for one text has {texts} places for it")));
            }
            before.append(prefix);
            *prefix = before;
            suffix.append(&mut after);
        }
        PostProcessorSpec::Sequence { processors } => {
            return processors.into_iter().try_for_each(|spec| add_post_processor(spec, prefix, suffix));
        }
    }
    Ok(())
}

fn decoding(spec: Option<DecoderSpec>) -> Result<Decoding, TokenizerError> {
    const KNOWN: &str = "ByteLevel, Metaspace, or a Sequence of Replace (▁ by a space), ByteFallback, Fuse, Strip (a leading space)";
    let unsupported =
        |found: &str| TokenizerError::Unsupported { part: "decoder", found: found.into(), known: KNOWN };
    let steps = match spec {
        None => return Err(unsupported("none")),
        Some(DecoderSpec::ByteLevel {}) => return Ok(Decoding::ByteLevel),
        Some(DecoderSpec::Sequence { decoders }) => decoders,
        Some(step) => vec![step],
    };
    if matches!(steps[..], [DecoderSpec::ByteLevel {}]) {
        return Ok(Decoding::ByteLevel);
    }
    let (mut replaced, mut strip_first_space) = (false, false);
    for step in steps {
        match step {
            DecoderSpec::Metaspace { replacement: META_SPACE, prepend_scheme } => {
                replaced = true;
                strip_first_space = prepend_scheme != Some(PrependScheme::Never);
            }
            DecoderSpec::Replace { pattern: Pattern::String(from), content }
                if from.chars().eq([META_SPACE]) && content == " " =>
            {
                replaced = true;
            }
            DecoderSpec::ByteFallback {} | DecoderSpec::Fuse {} => {}
            DecoderSpec::Strip { content: ' ', start, stop: 0 } if start <= 1 => {
                strip_first_space = start == 1
            }
            _ => return Err(unsupported("a step that is not known there")),
        }
    }
    if !replaced {
        return Err(unsupported("a sequence that keeps ▁"));
    }
    Ok(Decoding::SentencePiece { strip_first_space })
}

impl From<AddedSpec> for AddedToken {
    fn from(spec: AddedSpec) -> AddedToken {
        let AddedSpec { id, content, special, normalized, single_word, lstrip, rstrip } = spec;
        AddedToken { id, content, special, normalized, single_word, lstrip, rstrip }
    }
}

/// Text borrowed from the file where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Tokens with their ids, in the file's order. Empty for models that list them otherwise; those are refused by name.
#[derive(Default)]
struct Vocab<'a>(Vec<(Cow<'a, str>, u32)>);

impl<'de: 'a, 'a> Deserialize<'de> for Vocab<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct VocabVisitor;
        impl<'de> Visitor<'de> for VocabVisitor {
            type Value = Vocab<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a map from tokens to ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocab<'de>, A::Error> {
                let mut tokens = Vec::new();
                while let Some((Text(token), id)) = map.next_entry()? {
                    if tokens.len() == MAX_TOKENS {
                        return Err(A::Error::custom(format_args!(
                            "vocab has more than {MAX_TOKENS} tokens"
                        )));
                    }
                    tokens.push((token, id));
                }
                Ok(Vocab(tokens))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vocab<'de>, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Vocab::default())
            }
        }
        deserializer.deserialize_any(VocabVisitor)
    }
}

/// Merge rules in order of rank, written as `"a b"` in older files and as `["a", "b"]` in newer ones.
#[derive(Default)]
struct Merges<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Merges<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MergesVisitor;
        impl<'de> Visitor<'de> for MergesVisitor {
            type Value = Merges<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a list of merge rules")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merges<'de>, A::Error> {
                let mut merges = Vec::new();
                while let Some(Rule(left, right)) = seq.next_element()? {
                    if merges.len() == MAX_MERGES {
                        return Err(A::Error::custom(format_args!(
                            "merges has more than {MAX_MERGES} rules"
                        )));
                    }
                    merges.push((left, right));
                }
                Ok(Merges(merges))
            }
        }
        deserializer.deserialize_seq(MergesVisitor)
    }
}

struct Rule<'a>(Cow<'a, str>, Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Rule<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RuleVisitor;
        impl<'de> Visitor<'de> for RuleVisitor {
            type Value = Rule<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a merge rule, \"left right\" or [\"left\", \"right\"]")
            }

            fn visit_borrowed_str<E: Error>(self, rule: &'de str) -> Result<Rule<'de>, E> {
                let (left, right) = split_rule(rule).map_err(E::custom)?;
                Ok(Rule(Cow::Borrowed(left), Cow::Borrowed(right)))
            }

            fn visit_str<E: Error>(self, rule: &str) -> Result<Rule<'de>, E> {
                let (left, right) = split_rule(rule).map_err(E::custom)?;
                Ok(Rule(Cow::Owned(left.into()), Cow::Owned(right.into())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Rule<'de>, A::Error> {
                let (left, right) = (seq.next_element()?, seq.next_element()?);
                match (left, right, seq.next_element::<IgnoredAny>()?) {
                    (Some(Text(left)), Some(Text(right)), None) => Ok(Rule(left, right)),
                    _ => Err(A::Error::custom("a merge rule must have two tokens")),
                }
            }
        }
        deserializer.deserialize_any(RuleVisitor)
    }
}

/// The two tokens of `"left right"`.
pub(super) fn split_rule(rule: &str) -> Result<(&str, &str), String> {
    match rule.split_once(' ') {
        Some((left, right)) if !left.is_empty() && !right.is_empty() && !right.contains(' ') => {
            Ok((left, right))
        }
        _ => Err(format!("the merge rule {:?} is not two tokens with a space between", shorten(rule))),
    }
}
