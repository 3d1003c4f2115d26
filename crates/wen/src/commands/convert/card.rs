//! The card of what is converted: what it was made from, and what is known of that.

use hub::lineage::{Lineage, Parent};
use hub::{Repo, Store};
use models::export::Provenance;
use std::path::Path;

/// The card of a model that is about to be written.
pub struct Card {
    lineage: Lineage,
    base_url: Option<String>,
    /// As `README.md` has it.
    pub text: String,
}

impl Card {
    /// Of `out`, which is made of `base` with `adapters` merged, and whose matrices are stored as `stored` says.
    pub fn new(out: &Path, base: Parent, adapters: &[Parent], stored: Option<&str>) -> Card {
        let stored = stored.map(|name| format!("its matrices in {name}, "));
        let mut about = format!("`{}`{}, {}", base.name, merged(adapters), stored.unwrap_or_default());
        about += concat!("written by `wen convert`, version ", env!("CARGO_PKG_VERSION"), ".");
        let base_url = address(&base.name);
        let lineage = lineage(base, adapters);
        if !lineage.evaluation.is_empty() {
            about += " What was measured was measured before.";
        }
        let title = out.file_stem().filter(|_| hub::lineage::is_gguf(out)).or(out.file_name());
        let title = title.unwrap_or_default().to_string_lossy();
        let text = lineage.card(&title, &about);
        Card { lineage, base_url, text }
    }

    /// What a GGUF file says.
    pub fn provenance(&self) -> Provenance<'_> {
        Provenance {
            base: self.lineage.base_models.first().map_or("", String::as_str),
            base_url: self.base_url.as_deref(),
            license: self.lineage.license.as_deref(),
            card: &self.text,
        }
    }
}

/// Where the model comes from. It knows what was learned last: the base, or the one adapter in it. What several adapters
/// learned is said by the card of each.
fn lineage(base: Parent, adapters: &[Parent]) -> Lineage {
    let (relation, learned) = match adapters {
        [] => ("quantized", base.lineage.clone()),
        [adapter] => ("finetune", adapter.lineage.clone()),
        several => {
            let datasets = several.iter().flat_map(|adapter| adapter.lineage.datasets.clone()).collect();
            ("merge", Lineage { datasets, ..Lineage::default() })
        }
    };
    let kept = base.lineage.to_keep().map(Box::new);
    Lineage {
        base_models: vec![base.name],
        relation: Some(relation.to_owned()),
        license: base.lineage.license.or(learned.license),
        // an adapter knows where its base comes from
        base: kept.or(learned.base.filter(|_| !adapters.is_empty())),
        ..learned
    }
}

fn merged(adapters: &[Parent]) -> String {
    let names: Vec<String> = adapters.iter().map(|adapter| format!("`{}`", adapter.name)).collect();
    match names.len() {
        0 => String::new(),
        1 => format!(" with the adapter {} merged", names[0]),
        _ => format!(" with the adapters {} merged", names.join(", ")),
    }
}

/// Where the model was pulled from, if the store has it and it was.
fn address(name: &str) -> Option<String> {
    // what has no owner is in no store, which opening would make
    let repo = Repo::model(name.parse().ok()?);
    let store = Store::open(&Store::default_root().ok()?).ok()?;
    let upstream = store.info(&repo).ok()?.upstream?;
    let root = match upstream.hub.as_str() {
        "hf" => "https://huggingface.co",
        "ms" => "https://www.modelscope.cn/models",
        url => url,
    };
    Some(format!("{root}/{}", upstream.repo))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(name: &str, card: &str) -> Parent {
        Parent { name: name.to_owned(), lineage: Lineage::of_card(card) }
    }

    #[test]
    fn a_card_says_base_adapter_and_what_was_learned() {
        let base = || parent("Qwen/Tiny", "---\nbase_model: Qwen/Tiny-Base\nlicense: apache-2.0\n---\n");
        let notes = parent(
            "notes",
            "---\nbase_model: Qwen/Tiny\nlicense: mit\ndatasets: [a/notes]\nwen: {\"data_sha256\": \"abc\"}\n---\n\n\
             ## Recipe\n\n```toml\nseed = 7\n```\n",
        );
        let out = Path::new("out/tiny-q8_0.gguf");
        let read = |adapters: &[Parent]| {
            let card = Card::new(out, base(), adapters, Some("Q8_0")).text;
            assert!(card.contains("\n# tiny-q8_0\n\n`Qwen/Tiny`"), "{card}");
            (Lineage::of_card(&card), card)
        };
        let (plain, _) = read(&[]);
        assert_eq!((plain.relation.as_deref(), plain.recipe), (Some("quantized"), None));
        assert_eq!(plain.base.unwrap().base_models, ["Qwen/Tiny-Base"]);
        let (one, card) = read(std::slice::from_ref(&notes));
        assert_eq!(
            (one.relation.as_deref(), one.base_models),
            (Some("finetune"), vec!["Qwen/Tiny".to_owned()])
        );
        assert_eq!((one.recipe.as_deref(), one.data_sha256.as_deref()), (Some("seed = 7"), Some("abc")));
        assert_eq!(one.license.as_deref(), Some("apache-2.0"));
        assert!(
            card.contains("`Qwen/Tiny` with the adapter `notes` merged, its matrices in Q8_0, written"),
            "{card}"
        );
        let (two, _) = read(&[notes.clone(), notes]);
        assert_eq!((two.relation.as_deref(), two.recipe), (Some("merge"), None));
    }
}
