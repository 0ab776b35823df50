//! `llmsh computer`: tool calls of two APIs as plans, and their results.

mod calls;
mod desktop;
mod held;
mod lines;
mod offer;
mod table;
mod talk;
