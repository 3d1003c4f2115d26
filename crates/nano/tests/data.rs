//! What the data promises: it follows from its seed, cases are new, answers are right by their own scoring, and all of it fits.

use evaluate::{Answer, Call, Task};
use models::Tokenizer;
use models::chat::{ChatTemplate, RenderInput};
use nano::dataset::{COPYING_FIRST, Dataset};
use nano::example::Example;
use nano::grammar::Language;
use nano::tasks;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use train::tokenizer::{Pieces, Settings};

const TEMPLATE: &str = include_str!("../../../recipes/nano/chat_template.jinja");

#[test]
fn a_seed_gives_the_same_examples_everywhere() {
    let lines = |seed| {
        let dataset = Dataset::new(seed);
        (0..300).map(|index| dataset.training(index).training_line().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(lines(1), lines(1));
    let same = lines(1).iter().zip(&lines(2)).filter(|(a, b)| a == b).count();
    assert!(same < 30, "{same} of 300 examples are the same with another seed");
    // in any order, also of the lists of forms that are worked out on the way
    let dataset = Dataset::new(1);
    assert_eq!(dataset.training(250).training_line().to_string(), lines(1)[250]);
}

#[test]
fn no_entity_and_no_phrasing_of_a_case_is_learned() {
    let dataset = Dataset::new(1);
    let (mut entities, mut phrasings) = (BTreeSet::new(), BTreeSet::new());
    for index in 0..COPYING_FIRST + 8_000 {
        let example = dataset.training(index);
        entities.extend(example.entities);
        phrasings.extend(example.phrasings);
    }
    for task in tasks::ALL {
        for language in Language::ALL {
            let mut asked = BTreeSet::new();
            for index in 0..200 {
                let case = dataset.held_out(task, language, index);
                let what = format!("{} {} {index}", task.name, language.code());
                assert!(case.entities.iter().all(|entity| !entities.contains(entity)), "{what}");
                assert!(!case.phrasings.is_empty(), "{what}");
                let learned = case.phrasings.iter().find(|form| phrasings.contains(*form));
                assert_eq!(learned, None, "{what}");
                asked.insert(case.case_line("", language)["messages"].to_string());
            }
            // small talk has no entities, and so not that many questions
            let least = if task.name == "about" { 60 } else { 150 };
            assert!(
                asked.len() >= least,
                "{} {}: {} different cases",
                task.name,
                language.code(),
                asked.len()
            );
        }
    }
}

/// The answer that the example teaches, as a model would give it.
fn gold(example: &Example) -> Answer {
    let answer = example.answer();
    let calls = answer["tool_calls"].as_array().into_iter().flatten().map(|call| Call {
        name: call["function"]["name"].as_str().unwrap().to_owned(),
        arguments: call["function"]["arguments"].to_string(),
    });
    Answer { calls: calls.collect(), ..Answer::text(answer["content"].as_str().unwrap()) }
}

#[test]
fn every_case_is_right_by_its_own_scoring_and_no_other_answer_is() {
    let dataset = Dataset::new(1);
    let dir = tempfile::tempdir().unwrap();
    dataset.write_cases(dir.path()).unwrap();
    for task in tasks::ALL {
        let file = dir.path().join(format!("{}.toml", task.name));
        let read = Task::load(&file, None).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read.cases.len(), 400);
        let mut confused = 0;
        for (at, case) in read.cases.iter().enumerate() {
            let language = Language::ALL[at / 200];
            let example = dataset.held_out(task, language, (at % 200) as u64);
            let verdict = case.gold.score(&gold(&example)).unwrap();
            assert_eq!(verdict.headline(), 1.0, "{} {}: {verdict:?}", task.name, case.id);
            let other = dataset.held_out(task, language, (at as u64 + 1) % 200);
            confused += usize::from(case.gold.score(&gold(&other)).unwrap().headline() == 1.0);
        }
        // departments and small talk have few answers, and refusals are alike
        let most = match task.name {
            "absent" => 400,
            "triage" | "about" => 120,
            _ => 12,
        };
        assert!(confused <= most, "{}: {confused} cases take the next one's answer", task.name);
    }
}

#[test]
fn every_example_fits_and_comes_back_from_its_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = Dataset::new(1);
    let text = dir.path().join("text.jsonl");
    dataset.write_tokenizer_text(&text).unwrap();
    let settings =
        Settings { vocab_size: 4096, pieces: Pieces::Copyable, chat_template: Some(TEMPLATE.to_owned()) };
    let trained = train::tokenizer::train(&[text], &settings).unwrap();
    let tokenizer = Tokenizer::from_json(&serde_json::to_vec(&trained.tokenizer).unwrap()).unwrap();
    let template = ChatTemplate::new(TEMPLATE, "", "<|im_end|>").unwrap();
    let mut lengths: BTreeMap<u64, usize> = BTreeMap::new();
    // the mixture begins after the copying
    for index in COPYING_FIRST..COPYING_FIRST + 2_000 {
        let example = dataset.training(index);
        let input = RenderInput {
            messages: example.messages.clone(),
            tools: example.tools.clone(),
            ..RenderInput::default()
        };
        let prompt = template.render(&input).unwrap();
        let ids = template.encode(&tokenizer, &input).unwrap();
        assert_eq!(tokenizer.decode(&ids, false), prompt);
        assert_eq!(tokenizer.encode_with_added(&prompt), ids);
        lengths.insert(index, ids.len());
    }
    let longest = lengths.values().max().unwrap();
    let mean = lengths.values().sum::<usize>() / lengths.len();
    assert!(*longest <= 900 && (100..220).contains(&mean), "longest {longest}, mean {mean}");
}

#[test]
fn answers_are_what_training_reads() {
    let dataset = Dataset::new(1);
    for index in COPYING_FIRST..COPYING_FIRST + 500 {
        let line = dataset.training(index).training_line();
        let messages = line["messages"].as_array().unwrap();
        assert_eq!(messages.last().unwrap()["role"], "assistant", "{line}");
        let empty = |m: &Value| m["content"] == "" && m["tool_calls"].is_null();
        assert!(!messages.iter().any(empty), "{line}");
    }
}
