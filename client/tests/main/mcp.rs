//! `llmsh mcp`, as clients of the Model Context Protocol see it.

mod choice;
mod clients;
mod held;
mod http;
mod malformed;
pub(crate) mod speaker;
mod start;
mod tools;
