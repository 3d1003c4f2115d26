//! What a GGUF file says of where its model comes from.
//!
//! The keys of `general` are those of <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use crate::checkpoint::gguf_writer::MetadataValue;

/// Where a model comes from.
#[derive(Clone, Copy, Debug)]
pub struct Provenance<'a> {
    /// The model that it was made from: `owner/name`, or a name alone.
    pub base: &'a str,
    /// The address of that, if it has one.
    pub base_url: Option<&'a str>,
    /// The licence, as Hugging Face calls it.
    pub license: Option<&'a str>,
    /// The model card.
    pub card: &'a str,
}

/// The model card, under a key of our own: a file goes where no `README.md` goes with it.
const CARD: &str = "wen.card";

impl Provenance<'_> {
    /// As a file's metadata.
    pub(super) fn metadata(&self) -> Vec<(String, MetadataValue)> {
        use MetadataValue::{Text, U32};
        let (organization, name) = match self.base.split_once('/') {
            Some((organization, name)) => (Some(organization), name),
            None => (None, self.base),
        };
        let texts = [
            ("general.license", self.license),
            ("general.base_model.0.name", Some(name)),
            ("general.base_model.0.organization", organization),
            ("general.base_model.0.repo_url", self.base_url),
            (CARD, Some(self.card)),
        ];
        let texts = texts.into_iter().filter_map(|(key, text)| Some((key, Text(text?.to_owned()))));
        let count = ("general.base_model.count", U32(1));
        texts.chain([count]).map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

/// Whether a file says by `key` where its model comes from.
pub(super) fn is_provenance(key: &str) -> bool {
    let prefixes = ["general.base_model.", "general.license", "general.source."];
    key == CARD || prefixes.iter().any(|prefix| key.starts_with(prefix))
}
