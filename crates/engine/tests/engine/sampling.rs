//! What the fields of a request do to its tokens.

use crate::client::{Answer, answer, forcing, greedy, options, reply, seeded, start, submit};
use crate::fixture::{QWEN3, prompts};
use engine::{Generate, Sampling};
use std::collections::HashSet;

#[test]
fn sampling_fields_have_their_effect() {
    let engine = start(&QWEN3, options());
    let with = |change: &dyn Fn(&mut Sampling)| {
        let mut request = greedy(24);
        change(&mut request.sampling);
        answer(&engine, &prompts()[1], request).ids
    };
    let plain = with(&|_| {});
    let different = |ids: &[u32]| ids.iter().collect::<HashSet<_>>().len();
    assert!(different(&plain) < 24, "there is something to penalise");
    assert!(with(&|s| s.logit_bias = vec![(42, 1000.0)]).iter().all(|&id| id == 42));
    assert!(!with(&|s| s.logit_bias = vec![(plain[0], -1000.0)]).contains(&plain[0]));
    assert_eq!(different(&with(&|s| s.frequency_penalty = 1000.0)), 24, "no token comes twice");
    assert_eq!(different(&with(&|s| s.presence_penalty = 1000.0)), 24);
    assert_eq!(different(&with(&|s| s.presence_penalty = -1000.0)), 1, "the first token comes always");
    assert_ne!(with(&|s| s.repetition_penalty = 5.0), plain);
    assert_eq!(with(&|s| (s.temperature, s.top_k) = (2.0, 1)), plain, "one candidate is the best one");
    assert_eq!(with(&|s| (s.temperature, s.top_p) = (1.0, 1e-6)), plain);
    assert_eq!(with(&|s| (s.temperature, s.min_p) = (1.0, 1.0)), plain);
}

#[test]
fn log_probabilities_are_the_models_own_and_change_no_token() {
    let engine = start(&QWEN3, options());
    let prompt = &prompts()[1];
    for top in [0, 1, 20] {
        for request in [greedy(12), seeded(12, 4), forcing(42, greedy(12))] {
            let plain = Generate { sampling: request.sampling.clone(), ..greedy(12) };
            let expected = answer(&engine, prompt, plain);
            let found = answer(&engine, prompt, Generate { logprobs: Some(top), ..request });
            assert_eq!(Answer { logprobs: Vec::new(), ..found.clone() }, expected, "{top} alternatives");
            assert_eq!(found.logprobs.len(), 12);
            for (entry, id) in found.logprobs.iter().zip(&found.ids) {
                assert_eq!((entry.id, entry.top.len()), (*id, top));
                assert!(entry.logprob <= 0.0 && entry.top.iter().all(|t| t.1 <= 0.0), "{entry:?}");
                assert!(entry.top.windows(2).all(|pair| pair[0].1 >= pair[1].1), "{entry:?}");
                let among = entry.top.iter().find(|t| t.0 == *id);
                assert!(among.is_none_or(|t| t.1 == entry.logprob), "{entry:?}");
            }
        }
    }
    // a bias decides the token, but not how likely the model finds it
    let biased = answer(&engine, prompt, Generate { logprobs: Some(0), ..forcing(42, greedy(1)) });
    assert!(biased.logprobs[0].logprob < -0.1, "{:?}", biased.logprobs);
}

#[test]
fn a_token_is_as_likely_in_a_prompt_as_in_an_answer() {
    let engine = start(&QWEN3, options());
    let prompt = &prompts()[2];
    let request = Generate { prompt_logprobs: Some(2), ..greedy(0) };
    let told = reply(submit(&engine, prompt, request).unwrap(), 1).prompt.unwrap();
    assert_eq!(engine.stats().generated_tokens, 0, "no answer was asked for");
    for at in 1..prompt.len() {
        let request = Generate { logprobs: Some(2), ..forcing(prompt[at], greedy(1)) };
        let forced = answer(&engine, &prompt[..at], request);
        assert_eq!(told[at].as_ref(), forced.logprobs.first(), "position {at}");
    }
}
