//! `countersign demo`: a billing company, an agent and, where nobody sits there, an operator, around a real daemon.

pub mod books;
pub mod billing;
pub mod agent;
pub mod operator;
pub mod story;
pub mod stage;
pub mod verdict;
pub mod play;
#[cfg(test)]
mod bridge;
