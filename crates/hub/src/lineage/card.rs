//! A model card that says where a model comes from, as it is read again.

use super::{Lineage, Measured};
use serde_json::{Map, Value, json};

impl Lineage {
    /// The model card of what is called `title`; `about` is what a person reads first.
    pub fn card(&self, title: &str, about: &str) -> String {
        let facts: String =
            self.facts(title).iter().map(|(key, value)| format!("{key}: {value}\n")).collect();
        let recipe = self.recipe.iter().map(|recipe| format!("\n## Recipe\n\n```toml\n{recipe}\n```\n"));
        format!("---\n{facts}tags: [\"wen\"]\n---\n\n# {title}\n\n{about}\n{}", recipe.collect::<String>())
    }

    /// The front matter, but for tags. Its values are JSON, which is YAML too.
    fn facts(&self, title: &str) -> Vec<(&'static str, Value)> {
        let mut facts = vec![("base_model", json!(self.base_models))];
        facts.extend(self.relation.as_ref().map(|relation| ("base_model_relation", json!(relation))));
        facts.extend(self.license.as_ref().map(|license| ("license", json!(license))));
        if !self.datasets.is_empty() {
            facts.push(("datasets", json!(self.datasets)));
        }
        let mut own = Map::new();
        own.extend(self.data_sha256.as_ref().map(|sha256| ("data_sha256".to_owned(), json!(sha256))));
        own.extend(self.base.as_ref().map(|base| ("base".to_owned(), base.to_json())));
        if !own.is_empty() {
            facts.push(("wen", own.into()));
        }
        if !self.evaluation.is_empty() {
            let results: Vec<Value> = self.evaluation.iter().map(result).collect();
            facts.push(("model-index", json!([{ "name": title, "results": results }])));
        }
        facts
    }

    /// What is known, as JSON without what isn't.
    pub fn to_json(&self) -> Value {
        let Value::Object(mut fields) = json!(self) else { return Value::Null };
        fields.retain(|_, value| !value.is_null() && *value != json!([]));
        if let Some(base) = &self.base {
            fields.insert("base".to_owned(), base.to_json());
        }
        fields.into()
    }

    /// What a descendant's card keeps of its base: where that comes from, without what fills pages.
    pub fn to_keep(&self) -> Option<Lineage> {
        let kept = Lineage { recipe: None, evaluation: Vec::new(), ..self.clone() };
        (kept != Lineage::default()).then_some(kept)
    }
}

/// A figure as Hugging Face's `model-index` has it.
fn result(Measured { task, metric, value }: &Measured) -> Value {
    json!({
        "task": { "type": "text-generation" },
        "dataset": { "name": task, "type": task },
        "metrics": [{ "type": metric, "name": metric, "value": value }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_says_again_what_it_was_written_from() {
        let base = Lineage {
            base_models: vec!["Qwen/Qwen3-0.6B-Base".to_owned()],
            relation: Some("finetune".to_owned()),
            recipe: Some("seed = 1".to_owned()),
            ..Lineage::default()
        };
        let lineage = Lineage {
            base_models: vec!["tuned: \"x\"".to_owned()],
            relation: Some("quantized".to_owned()),
            datasets: vec!["a/notes".to_owned()],
            license: Some("apache-2.0".to_owned()),
            recipe: Some("seed = 7\n[data]\ntrain = [\"x\"]".to_owned()),
            data_sha256: Some("abc".to_owned()),
            evaluation: vec![Measured {
                task: "held out".to_owned(),
                metric: "eval_loss".to_owned(),
                value: 1.25,
            }],
            base: base.to_keep().map(Box::new),
        };
        let card = lineage.card("small", "A model.");
        assert!(card.contains("\n# small\n\nA model.\n"), "{card}");
        let kept = r#""base":{"base_models":["Qwen/Qwen3-0.6B-Base"],"relation":"finetune"}"#;
        assert!(card.contains(kept), "{card}");
        assert_eq!(Lineage::of_card(&card), lineage);
        let kept = lineage.base.unwrap();
        assert_eq!((kept.base_models, kept.recipe), (base.base_models, None));
        assert_eq!(Lineage::default().to_keep(), None);
    }
}
