//! Phrasings and entities, split into those to learn from and those held out.
//!
//! A template has alternatives, `<like|such as> these`, and slots, `{name}`. With its alternatives chosen it is a form. The
//! forms of a list of templates are split by their hashes, and a fifth is held out of training: it is what evaluation uses, and
//! nothing else. A held-out form with a word that no learned one has is not asked either, as long as its list has others: what is
//! asked is put together from words that are known, and is new as a sentence. A template that begins with `=` is what everybody
//! says: its forms are always learned and never asked. Entities (people, brands, whole things to do) are
//! held out one by one, by their hashes.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use train::random::Random;

/// The language of an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// Chinese.
    Zh,
    /// English.
    En,
}

impl Language {
    /// Both.
    pub const ALL: [Language; 2] = [Language::Zh, Language::En];

    /// As in file names and cases.
    pub fn code(self) -> &'static str {
        match self {
            Language::Zh => "zh",
            Language::En => "en",
        }
    }

    /// `zh` in Chinese, `en` in English.
    pub fn pick<T>(self, zh: T, en: T) -> T {
        match self {
            Language::Zh => zh,
            Language::En => en,
        }
    }
}

/// Which part of all phrasings and entities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// To learn from.
    Train,
    /// To evaluate with.
    HeldOut,
}

/// One entity in this many is held out.
const HELD_OUT_ENTITIES: u64 = 8;
/// One form in this many is held out, and at least one of each list.
const HELD_OUT_FORMS: u64 = 5;
/// Begins a template whose forms are always learned.
const ALWAYS: char = '=';
/// Such a form is met as often as this many others.
const ALWAYS_TIMES: usize = 4;

/// The forms of one list: those to learn from, then those held out.
struct SplitForms {
    train: Vec<Rc<str>>,
    held_out: Vec<Rc<str>>,
}

/// The forms of all lists that were asked for, so that they are worked out once.
#[derive(Default)]
pub struct Forms(RefCell<HashMap<(*const &'static str, usize), Rc<SplitForms>>>);

impl Forms {
    fn of(&self, templates: &'static [&'static str]) -> Rc<SplitForms> {
        let key = (templates.as_ptr(), templates.len());
        self.0.borrow_mut().entry(key).or_insert_with(|| Rc::new(split(templates))).clone()
    }

    /// The held-out forms with a word that no learned form of their list has.
    #[cfg(test)]
    pub(crate) fn with_unknown_words(&self) -> Vec<Rc<str>> {
        let lists = self.0.borrow();
        let unknown = lists.values().flat_map(|parts| {
            let known: HashSet<String> = parts.train.iter().flat_map(|form| words(form)).collect();
            parts.held_out.iter().filter(move |form| !words(form).is_subset(&known)).cloned()
        });
        unknown.collect()
    }
}

fn split(templates: &[&str]) -> SplitForms {
    assert!(!templates.iter().all(|of| of.starts_with(ALWAYS)), "nothing of {templates:?} can be asked");
    let all_forms = |is_always: bool| {
        let of_kind = templates.iter().filter(move |template| template.starts_with(ALWAYS) == is_always);
        of_kind.flat_map(|template| forms(template.strip_prefix(ALWAYS).unwrap_or(template)))
    };
    let always: HashSet<String> = all_forms(true).collect();
    let mut forms: Vec<String> = all_forms(false).chain(always.iter().cloned()).collect();
    forms.sort_by_key(|form| hash(form));
    forms.dedup();
    // by the form alone, so that one that stands in two lists is in the same split in both
    let is_held_out = |form: &String| hash(form).is_multiple_of(HELD_OUT_FORMS) && !always.contains(form);
    let (mut held_out, mut train): (Vec<String>, Vec<String>) = forms.into_iter().partition(is_held_out);
    let known: HashSet<String> = train.iter().flat_map(|form| words(form)).collect();
    let is_known = |form: &String| words(form).is_subset(&known);
    // a list that has only such forms to ask keeps them
    if held_out.iter().any(is_known) {
        held_out.retain(is_known);
    }
    let free = train.iter().position(|form| !always.contains(form));
    if let (true, Some(at)) = (held_out.is_empty(), free) {
        held_out.push(train.remove(at));
    }
    if train.is_empty() {
        train.extend(held_out.pop());
    }
    let often: Vec<String> = train.iter().filter(|form| always.contains(*form)).cloned().collect();
    train.extend(std::iter::repeat_n(often, ALWAYS_TIMES - 1).flatten());
    let shared = |forms: Vec<String>| forms.into_iter().map(Rc::from).collect();
    SplitForms { train: shared(train), held_out: shared(held_out) }
}

/// The words of a form, without its slots: runs of ASCII letters, and other letters one by one, each a Chinese character.
fn words(form: &str) -> HashSet<String> {
    let texts = form.split('{').enumerate().map(|(at, part)| match at {
        0 => part,
        _ => part.split_once('}').map_or("", |(_, text)| text),
    });
    let mut words = HashSet::new();
    for text in texts {
        let ascii = text.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty());
        words.extend(ascii.map(str::to_ascii_lowercase));
        words.extend(text.chars().filter(|c| !c.is_ascii() && c.is_alphabetic()).map(String::from));
    }
    words
}

/// All forms of a template.
fn forms(template: &str) -> Vec<String> {
    let Some(start) = template.find('<') else {
        return vec![template.to_owned()];
    };
    let end = start + template[start..].find('>').unwrap_or_else(|| panic!("no > in {template}"));
    let rests = forms(&template[end + 1..]);
    let (head, options) = (&template[..start], template[start + 1..end].split('|'));
    options.flat_map(|option| rests.iter().map(move |rest| format!("{head}{option}{rest}"))).collect()
}

/// Writes one example: all its choices come from one seed and one split.
pub struct Writer<'a> {
    forms: &'a Forms,
    random: Random,
    split: Split,
    language: Language,
    /// The entities that were used.
    pub entities: Vec<String>,
    /// The forms that were used.
    pub phrasings: Vec<Rc<str>>,
}

impl<'a> Writer<'a> {
    /// The writer of example `index` of one task.
    pub fn new(
        forms: &'a Forms,
        seed: u64,
        task: &str,
        language: Language,
        split: Split,
        index: u64,
    ) -> Writer<'a> {
        let part = if split == Split::Train { "train" } else { "held out" };
        let random = Random::new(seed, &format!("{task} {} {part}", language.code()), index);
        Writer { forms, random, split, language, entities: Vec::new(), phrasings: Vec::new() }
    }

    /// The language to write.
    pub fn language(&self) -> Language {
        self.language
    }

    /// Whether this is to be learned from.
    pub fn is_train(&self) -> bool {
        self.split == Split::Train
    }

    /// One of `items`.
    pub fn one<'t, T: ?Sized>(&mut self, items: &'t [&'t T]) -> &'t T {
        items[self.random.below(items.len())]
    }

    /// An index below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        self.random.below(count)
    }

    /// A number from `low` to `high`.
    pub fn number(&mut self, low: u32, high: u32) -> u32 {
        low + self.random.below((high - low + 1) as usize) as u32
    }

    /// True in `percent` of all cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.random.below(100) < percent
    }

    /// How many questions follow the first one about the same material: none in a case, which is one question.
    pub fn further_turns(&mut self) -> usize {
        if self.is_train() { [0, 1, 1, 2, 2, 3][self.below(6)] } else { 0 }
    }

    /// [`Self::further_turns`] where something is thought before each answer. Each turn is an example of its own then, since
    /// thoughts are not kept in a conversation, and there are fewer.
    pub fn further_thoughtful_turns(&mut self) -> usize {
        self.further_turns() / 3
    }

    /// Puts `items` into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        self.random.shuffle(items);
    }

    /// `count` different indices below `of`, in random order.
    pub fn sample(&mut self, of: usize, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..of).collect();
        self.shuffle(&mut all);
        all.truncate(count);
        all
    }

    /// What `make` makes, made again until it belongs to this split.
    pub fn entity(&mut self, make: &mut dyn FnMut(&mut Self) -> String) -> String {
        loop {
            let made = make(self);
            let held_out = hash(&made).is_multiple_of(HELD_OUT_ENTITIES);
            if held_out == (self.split == Split::HeldOut) {
                self.entities.push(made.clone());
                return made;
            }
        }
    }

    /// A form of this split of the templates in `of`, written out.
    pub fn phrase(&mut self, of: &'static [&'static str], slots: &[(&str, &str)]) -> String {
        let forms = self.forms.of(of);
        let forms = if self.split == Split::Train { &forms.train } else { &forms.held_out };
        let form = forms[self.random.below(forms.len())].clone();
        let text = fill(&form, slots);
        self.phrasings.push(form);
        text
    }

    /// `template` with one of each alternatives, and its slots filled.
    ///
    /// # Panics
    /// When a slot has no value, or an alternative no end.
    pub fn write(&mut self, template: &str, slots: &[(&str, &str)]) -> String {
        let mut chosen = String::new();
        let mut rest = template;
        while let Some(start) = rest.find('<') {
            let end = start + rest[start..].find('>').unwrap_or_else(|| panic!("no > in {template}"));
            let options: Vec<&str> = rest[start + 1..end].split('|').collect();
            chosen.push_str(&rest[..start]);
            chosen.push_str(options[self.random.below(options.len())]);
            rest = &rest[end + 1..];
        }
        chosen.push_str(rest);
        fill(&chosen, slots)
    }
}

/// `template` with its slots filled.
fn fill(template: &str, slots: &[(&str, &str)]) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        let end = start + rest[start..].find('}').unwrap_or_else(|| panic!("no }} in {template}"));
        let name = &rest[start + 1..end];
        let value = slots.iter().find(|(slot, _)| *slot == name);
        text.push_str(&rest[..start]);
        text.push_str(value.unwrap_or_else(|| panic!("no {name} for {template}")).1);
        rest = &rest[end + 1..];
    }
    text + rest
}

/// What splits: a hash that stays the same everywhere.
pub fn hash(text: &str) -> u64 {
    Random::new(0, text, 0).bits()
}

/// JSON on one line with a space after `,` and `:`, as chat templates write it.
pub fn json_line(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(json_line).collect::<Vec<_>>().join(", "))
        }
        Value::Object(fields) => {
            let fields = fields.iter().map(|(k, v)| format!("{}: {}", Value::from(k.as_str()), json_line(v)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const PHRASES: &[&str] = &["a {x}", "<b|c|d> {x}", "e <1|2|3> {x}", "<f|g> {x}<!|.>"];

    #[test]
    fn templates_choose_alternatives_and_fill_slots() {
        let forms = Forms::default();
        let mut w = Writer::new(&forms, 1, "test", Language::En, Split::Train, 0);
        let written = w.write("<so|thus> {a}, {b}<!|.>", &[("a", "<1>"), ("b", "{2}")]);
        assert!(["so <1>, {2}!", "so <1>, {2}.", "thus <1>, {2}!", "thus <1>, {2}."].contains(&&*written));
    }

    #[test]
    fn forms_and_entities_are_in_one_split_only() {
        let forms = Forms::default();
        let seen = |split| {
            let (mut phrasings, mut entities) = (BTreeSet::new(), BTreeSet::new());
            for index in 0..300 {
                let mut w = Writer::new(&forms, 1, "test", Language::En, split, index);
                w.phrase(PHRASES, &[("x", "1")]);
                w.entity(&mut |w| w.number(0, 500).to_string());
                phrasings.extend(w.phrasings);
                entities.extend(w.entities);
            }
            (phrasings, entities)
        };
        let (train, test) = (seen(Split::Train), seen(Split::HeldOut));
        assert!(train.0.is_disjoint(&test.0) && train.1.is_disjoint(&test.1));
        // one of the eleven has an unknown word
        assert_eq!(train.0.len() + test.0.len(), 10);
        assert!((1..=4).contains(&test.0.len()), "{}", test.0.len());
    }

    #[test]
    fn what_is_asked_has_no_unknown_words() {
        let words = ["red", "blue", "green", "grey", "pink", "gold", "black", "white", "brown", "lime"];
        let templates: &[&str] =
            &["<red|blue|green|grey|pink> <hat|coat|sock>", "<gold|black|white|brown|lime> {x}"];
        let parts = split(templates);
        let has = |of: &[Rc<str>], word: &str| of.iter().any(|form| form.contains(word));
        assert!(words.iter().all(|word| !has(&parts.held_out, word) || has(&parts.train, word)));
        // what stands in one held-out form alone is left out
        let left_out = words.iter().find(|word| !has(&parts.train, word) && !has(&parts.held_out, word));
        assert!(left_out.is_some(), "{:?} {:?}", parts.train, parts.held_out);
    }

    #[test]
    fn what_everybody_says_is_always_learned() {
        let templates: &[&str] = &["=<Who|What> are you?", "<Who|What> are <you|we|they>?"];
        let parts = split(templates);
        let has = |of: &[Rc<str>], form: &str| of.iter().any(|of| **of == *form);
        for form in ["Who are you?", "What are you?"] {
            assert!(has(&parts.train, form) && !has(&parts.held_out, form), "{form}");
        }
        assert_eq!(parts.train.len() + parts.held_out.len(), 6 + 2 * (ALWAYS_TIMES - 1));
        // whatever its hash, and as the only one
        for index in 0..50 {
            let template = format!("={index}");
            let parts = split(&[&template, "x <a|b>", "a", "b", "x"]);
            assert!(has(&parts.train, &index.to_string()), "{index}");
        }
    }

    #[test]
    fn fixed_words_are_known_as_well() {
        let templates: &[&str] = &[
            "How heavy {x}?",
            "How tall is {x}?",
            "How wide is {x}?",
            "Is {x} <old|new|big|low|far|near>?",
            "<old|new|big|low|far|near> {x}!",
            "{x}重吗？",
            "{x}高吗？",
            "{x}远吗？",
            "{x}近吗？",
        ];
        let parts = split(templates);
        let all = |of: &[Rc<str>]| of.iter().flat_map(|form| words(form)).collect::<HashSet<String>>();
        let unknown: Vec<String> = all(&parts.held_out).difference(&all(&parts.train)).cloned().collect();
        assert!(unknown.is_empty() && !parts.held_out.is_empty(), "{unknown:?}");
        let left_out = ["heavy", "tall", "wide", "重", "高", "远", "近"].map(String::from);
        assert!(left_out.iter().any(|word| !all(&parts.train).contains(word)), "{:?}", parts.train);
        assert_eq!(words("How 2 {how_many}, 多{x}重？"), ["how", "多", "重"].map(String::from).into());
    }

    #[test]
    fn an_index_always_gives_the_same() {
        let write = |index| {
            let forms = Forms::default();
            let mut w = Writer::new(&forms, 1, "test", Language::En, Split::Train, index);
            (0..8).map(|_| w.phrase(PHRASES, &[("x", "1")])).collect::<String>()
        };
        assert_eq!(write(3), write(3));
        assert_ne!(write(3), write(4));
    }

    #[test]
    fn json_has_spaces_after_commas_and_colons() {
        let value = serde_json::json!([{"a": "x, \"y\": z", "b": [1, null]}, {}]);
        assert_eq!(json_line(&value), r#"[{"a": "x, \"y\": z", "b": [1, null]}, {}]"#);
    }
}
