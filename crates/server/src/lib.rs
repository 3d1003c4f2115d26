//! The HTTP service: OpenAI's wire contract over the engine.
