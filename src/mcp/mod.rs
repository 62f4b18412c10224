//! The Model Context Protocol as the gate needs it: messages read once and strictly, the method table, our answers
//! and their codes. No transport, no policy.

pub mod api_request;
pub mod batch;
pub mod definitions;
mod form;
pub mod headers;
pub mod message;
pub mod method;
pub mod rename;
pub mod reply;
pub mod loss;
pub mod params;
pub mod table;
