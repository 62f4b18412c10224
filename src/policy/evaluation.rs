//! One input, and what the sets of a version say about it: each is asked where it belongs, on the machine or in the
//! interpreter.

use std::time::Duration;

use regorus::{Engine, Value};

use super::compiled::{Compiled, Sets};
use super::set::EntryPoint;
use super::{Mode, PolicyFault};

/// What is compiled, where some of it is in use.
#[derive(Debug)]
pub struct Programs {
    pub enforced: Option<Compiled>,
    pub watched: Option<Compiled>,
}

/// Evaluates sets on one input, each where it belongs.
pub struct Evaluation<'a> {
    /// The interpreter, prepared.
    engine: &'a Engine,
    time_limit: Duration,
    compiled: Option<&'a Programs>,
    input: Value,
    /// Of each program that was asked: one that has failed is not asked again.
    enforced: Option<Result<Sets, String>>,
    watched: Option<Result<Sets, String>>,
    interpreter: Option<Engine>,
}

impl<'a> Evaluation<'a> {
    pub fn new(
        engine: &'a Engine,
        time_limit: Duration,
        compiled: Option<&'a Programs>,
        input: Value,
    ) -> Evaluation<'a> {
        Evaluation { engine, time_limit, compiled, input, enforced: None, watched: None, interpreter: None }
    }

    pub fn value(&mut self, point: &EntryPoint) -> Result<Value, PolicyFault> {
        let Evaluation { engine, time_limit, compiled, input, enforced, watched, interpreter } = self;
        let (program, sets) = match point.mode {
            Mode::Enforce => (compiled.and_then(|programs| programs.enforced.as_ref()), enforced),
            Mode::Warn | Mode::Shadow => (compiled.and_then(|programs| programs.watched.as_ref()), watched),
        };
        match (program, point.compiled) {
            (Some(program), Some(place)) => {
                let sets = sets.get_or_insert_with(|| program.evaluate(input.clone(), *time_limit));
                let sets = sets.as_ref().map_err(|message| PolicyFault::BuiltIn { message: message.clone() })?;
                Ok(sets.set(place))
            }
            (None, _) | (_, None) => {
                let interpreter = interpreter.get_or_insert_with(|| {
                    let mut engine = engine.clone();
                    engine.set_input(input.clone());
                    engine
                });
                point.interpret(interpreter)
            }
        }
    }
}
