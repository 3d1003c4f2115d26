//! Where an answer ends, and what of it is told.

use crate::client::{answer, answers, assert_idle, forcing, greedy, options, seeded, start};
use crate::fixture::{QWEN3, prompts};
use engine::{FinishReason, Generate, Thinking};

#[test]
fn a_stop_string_at_any_place_is_cut_from_the_text() {
    let engine = start(&QWEN3, options());
    let prompt = &prompts()[1];
    let whole = answer(&engine, prompt, greedy(40));
    let chars: Vec<char> = whole.text.chars().collect();
    assert!(chars.len() > 30, "{:?} is long enough to be cut", whole.text);
    let pieces: Vec<String> = whole.ids.iter().map(|&id| QWEN3.tokenizer.decode(&[id], true)).collect();
    let mut across = 0;
    for len in [1, 2, 5, 9] {
        for from in (0..chars.len() - len).step_by(3) {
            let stop: String = chars[from..from + len].iter().collect();
            let request = Generate { stop: vec!["never in it".into(), stop.clone()], ..greedy(40) };
            let cut = answer(&engine, prompt, request);
            assert_eq!(cut.text, whole.text[..whole.text.find(&stop).unwrap()], "{stop:?}");
            across += usize::from(!pieces.iter().any(|piece| piece.contains(&stop)));
            assert_eq!((cut.reason, cut.stop), (Some(FinishReason::Stop), Some(stop)));
            assert_eq!(cut.ids, whole.ids[..cut.tokens], "the tokens up to its end were computed");
        }
    }
    assert!(across > 10, "{across} stop strings span several tokens");
    assert_idle(&engine);
}

#[test]
fn text_that_only_began_a_stop_string_is_told_at_the_end() {
    let engine = start(&QWEN3, options());
    let prompt = &prompts()[1];
    for max_tokens in 1..12 {
        let whole = answer(&engine, prompt, greedy(max_tokens));
        let request = Generate { stop: vec![whole.text.clone() + "!"], ..greedy(max_tokens) };
        assert_eq!(answer(&engine, prompt, request), whole, "{max_tokens} tokens");
    }
}

#[test]
fn an_answer_has_as_many_tokens_as_it_may() {
    let engine = start(&QWEN3, options());
    for (prompt, max_tokens, expected) in
        [(30, 0, 0), (30, 1, 1), (30, 7, 7), (500, 100, 12), (511, 1, 1), (511, 2, 1), (512, 0, 0)]
    {
        let prompt: Vec<u32> = prompts()[3].iter().cycle().take(prompt).copied().collect();
        for n in [1, 3] {
            for found in answers(&engine, &prompt, Generate { n, logprobs: Some(0), ..seeded(max_tokens, 1) })
            {
                let what = format!("{n} answers of {max_tokens} tokens to {}", prompt.len());
                assert_eq!(
                    (found.tokens, found.ids.len(), found.logprobs.len()),
                    (expected, expected, expected),
                    "{what}"
                );
                assert_eq!(found.reason, Some(FinishReason::Length), "{what}");
            }
        }
    }
    assert_idle(&engine);
}

#[test]
fn stop_tokens_and_end_tokens_end_an_answer_and_are_no_part_of_it() {
    let engine = start(&QWEN3, options());
    let prompt = &prompts()[1];
    let whole = answer(&engine, prompt, greedy(40));
    for at in 0..whole.ids.len() {
        let token = whole.ids[at];
        let first = whole.ids.iter().position(|&id| id == token).unwrap();
        let request = Generate { stop_token_ids: vec![511, token], logprobs: Some(1), ..greedy(40) };
        let cut = answer(&engine, prompt, request);
        assert_eq!((cut.ids.as_slice(), cut.logprobs.len()), (&whole.ids[..first], first));
        assert_eq!(cut.text, QWEN3.tokenizer.decode(&cut.ids, true));
        assert_eq!((cut.reason, cut.stop, cut.tokens), (Some(FinishReason::Stop), None, first + 1));
    }
    for &eos in &QWEN3.generation.eos_token_ids {
        let ended = answer(&engine, prompt, Generate { ignore_eos: false, ..forcing(eos, greedy(40)) });
        assert_eq!((ended.ids.len(), ended.tokens, ended.reason), (0, 1, Some(FinishReason::Stop)));
        let ignored = answer(&engine, prompt, forcing(eos, greedy(5)));
        assert_eq!((ignored.tokens, ignored.reason), (5, Some(FinishReason::Length)));
    }
}

#[test]
fn reasoning_ends_by_itself_or_by_its_budget() {
    let engine = start(&QWEN3, options());
    let prompt = &prompts()[1];
    let whole = answer(&engine, prompt, greedy(40));
    let end_token = QWEN3.tokenizer.token_id("</think>").unwrap();
    assert!(!whole.ids.contains(&end_token));
    let closing = vec![whole.ids[0], end_token];
    for budget in [0, 1, 5] {
        let thinking = Thinking { end_token, end_sequence: closing.clone(), budget: Some(budget) };
        let found = answer(&engine, prompt, Generate { thinking: Some(thinking), ..greedy(20) });
        assert_eq!(found.ids[..budget], whole.ids[..budget], "budget {budget}");
        assert_eq!(found.ids[budget..budget + 2], closing, "budget {budget}");
        assert_eq!((found.reasoning_tokens, found.tokens), (budget + 2, 20), "budget {budget}");
    }
    // the model ends it: its sixth token stands for `</think>`
    let end_token = whole.ids[5];
    let first = whole.ids.iter().position(|&id| id == end_token).unwrap();
    let thinking = Thinking { end_token, end_sequence: closing, budget: None };
    let found = answer(&engine, prompt, Generate { thinking: Some(thinking), ..greedy(40) });
    assert_eq!((found.ids, found.reasoning_tokens), (whole.ids, first + 1));
}
