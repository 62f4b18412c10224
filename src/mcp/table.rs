//! The method table: what happens to each method, in each direction and each era. There is no wildcard row: what is
//! not listed is refused, and so is what the other era alone has.
//!
//! Revisions up to 2025-11-25 share one table: an upstream of an older one answers by itself what it does not know.

use crate::call::Decided;

use super::message::Era;

/// What happens to a client's request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Row {
    /// Cannot change upstream state and carries nothing out but what the protocol needs: passed on.
    Pass,
    /// Needs a decision.
    Decide(Decided),
    /// Is about one task: passed on only where a call of this principal became that task.
    Task,
}

/// What happens to a client's notification.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    Pass,
    /// Passed on only where it names a request that is really with the upstream.
    Cancel,
    /// Passed on only where it is about a question of the upstream that is not answered yet.
    Progress,
    /// Passed on only where the client has declared this capability.
    Offered(&'static str),
}

/// What happens to an upstream's request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question {
    /// Nobody is asked who did not declare this.
    pub needs: Option<&'static str>,
    /// The decision that the client's answer needs. Without one it carries nothing but a state.
    pub answer: Option<Decided>,
    /// Asked only on behalf of a call that is under way.
    pub in_a_call: bool,
}

/// A method, and what becomes of it up to 2025-11-25 and from 2026-07-28 on.
pub(crate) type Rows<T> = &'static [(&'static str, Option<T>, Option<T>)];

pub(crate) const REQUESTS: Rows<Row> = {
    use Decided::{Complete, Listen, PromptsGet, ResourcesRead, ResourcesSubscribe, TasksUpdate, ToolsCall};
    use Row::{Decide, Pass, Task};
    &[
        ("initialize", Some(Pass), None),
        ("ping", Some(Pass), None),
        ("logging/setLevel", Some(Pass), None),
        ("server/discover", None, Some(Pass)),
        ("tools/list", Some(Pass), Some(Pass)),
        ("tools/call", Some(Decide(ToolsCall)), Some(Decide(ToolsCall))),
        ("resources/list", Some(Pass), Some(Pass)),
        ("resources/templates/list", Some(Pass), Some(Pass)),
        ("resources/read", Some(Decide(ResourcesRead)), Some(Decide(ResourcesRead))),
        ("resources/subscribe", Some(Decide(ResourcesSubscribe)), None),
        ("resources/unsubscribe", Some(Pass), None),
        ("prompts/list", Some(Pass), Some(Pass)),
        ("prompts/get", Some(Decide(PromptsGet)), Some(Decide(PromptsGet))),
        ("completion/complete", Some(Decide(Complete)), Some(Decide(Complete))),
        ("subscriptions/listen", None, Some(Decide(Listen))),
        // Before 2026-07-28 tasks are part of the protocol; from then on they are an extension.
        ("tasks/get", Some(Task), Some(Task)),
        ("tasks/result", Some(Task), None),
        ("tasks/cancel", Some(Task), Some(Task)),
        ("tasks/list", Some(Pass), None),
        ("tasks/update", None, Some(Decide(TasksUpdate))),
    ]
};

pub(crate) const NOTICES: Rows<Notice> = &[
    ("notifications/initialized", Some(Notice::Pass), None),
    ("notifications/cancelled", Some(Notice::Cancel), Some(Notice::Cancel)),
    ("notifications/progress", Some(Notice::Progress), None),
    ("notifications/roots/list_changed", Some(Notice::Offered("roots")), None),
    ("notifications/tasks/status", Some(Notice::Offered("tasks")), None),
];

/// An upstream asks by requests before 2026-07-28, and in its answers from then on.
pub(crate) const QUESTIONS: Rows<Question> = {
    const fn asks(needs: &'static str, answer: Decided, in_a_call: bool) -> Option<Question> {
        Some(Question { needs: Some(needs), answer: Some(answer), in_a_call })
    }
    const fn about_a_task(answer: Option<Decided>) -> Option<Question> {
        Some(Question { needs: Some("tasks"), answer, in_a_call: false })
    }
    const ROOTS: Option<Question> = asks("roots", Decided::Roots, false);
    const SAMPLING: Option<Question> = asks("sampling", Decided::Sampled, true);
    const ELICITATION: Option<Question> = asks("elicitation", Decided::Elicited, true);
    &[
        ("ping", Some(Question { needs: None, answer: None, in_a_call: false }), None),
        ("roots/list", ROOTS, ROOTS),
        ("sampling/createMessage", SAMPLING, SAMPLING),
        ("elicitation/create", ELICITATION, ELICITATION),
        // Tasks that the client hosts: what it answers to a question may come later.
        ("tasks/get", about_a_task(None), None),
        ("tasks/result", about_a_task(Some(Decided::TaskOutcome)), None),
        ("tasks/cancel", about_a_task(None), None),
        ("tasks/list", about_a_task(None), None),
    ]
};

/// What an upstream may tell.
pub(crate) const NEWS: Rows<()> = &[
    ("notifications/cancelled", Some(()), Some(())),
    ("notifications/progress", Some(()), Some(())),
    ("notifications/message", Some(()), Some(())),
    ("notifications/tools/list_changed", Some(()), Some(())),
    ("notifications/prompts/list_changed", Some(()), Some(())),
    ("notifications/resources/list_changed", Some(()), Some(())),
    ("notifications/resources/updated", Some(()), Some(())),
    ("notifications/elicitation/complete", Some(()), None),
    ("notifications/tasks/status", Some(()), None),
    ("notifications/subscriptions/acknowledged", None, Some(())),
    ("notifications/tasks", None, Some(())),
];

fn find<T: Copy>(rows: Rows<T>, method: &str, era: Era) -> Option<T> {
    let (_, legacy, modern) = rows.iter().find(|(name, ..)| *name == method)?;
    match era {
        Era::Legacy => *legacy,
        Era::Modern => *modern,
    }
}

/// A client's request. `None` is unknown in this era: refused.
pub fn request(era: Era, method: &str) -> Option<Row> {
    find(REQUESTS, method, era)
}

/// True where the other era has this request.
pub(super) fn is_of_another_era(method: &str) -> bool {
    REQUESTS.iter().any(|(name, ..)| *name == method)
}

/// A client's notification. Unknown ones go nowhere.
pub fn notice(era: Era, method: &str) -> Option<Notice> {
    find(NOTICES, method, era)
}

/// A request of the upstream: a message of its own, or from 2026-07-28 on a part of an answer.
pub fn question(era: Era, method: &str) -> Option<Question> {
    find(QUESTIONS, method, era)
}

/// Whether an upstream may tell this.
pub fn news(era: Era, method: &str) -> bool {
    find(NEWS, method, era).is_some()
}

#[cfg(test)]
mod tests;
