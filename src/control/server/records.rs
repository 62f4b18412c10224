//! The record on the operator socket: pages of it, what the rules did, and the lines behind a hold.

use super::{Connection, Ended};
use crate::call::CallId;
use crate::control::wire::{ChainView, Excerpt, ExcerptLine, Failure, Notice, RecordView, RuleView};

/// Records of one page.
const MAX_PAGE: u16 = 500;

impl Connection {
    pub(super) async fn records(
        &mut self,
        seq: u64,
        before: Option<u64>,
        limit: u16,
        call: Option<CallId>,
    ) -> Result<(), Ended> {
        if !(1..=MAX_PAGE).contains(&limit) {
            return self.failed(seq, Failure::Malformed, format!("a page has 1 to {MAX_PAGE} records")).await;
        }
        let page = match self.control.gate.records(before, limit.into(), call).await {
            Ok(page) => page,
            Err(error) => return self.failed(seq, Failure::Unavailable, error.to_string()).await,
        };
        let records = page.lines.into_iter().map(|line| RecordView {
            seq: line.seq,
            at: line.at,
            call: line.call,
            kind: line.kind,
            words: line.words,
            server: line.about.server,
            environment: line.about.environment,
            principal: line.about.principal,
            session: line.about.session,
            operation: line.about.operation,
            rule: line.about.rule,
            operator: line.about.operator,
        });
        let chain = ChainView { records: self.control.gate.audit().records(), head: page.head, intact: page.intact };
        let records = records.collect();
        self.send(&Notice::Records { seq, records, chain }).await
    }

    pub(super) async fn rules(&mut self, seq: u64) -> Result<(), Ended> {
        let stats = match self.control.gate.numbers().await {
            Ok(stats) => stats,
            Err(error) => return self.failed(seq, Failure::Unavailable, error.to_string()).await,
        };
        let rules = stats.rules.iter().map(|rule| RuleView {
            rule: rule.rule.clone(),
            policy: rule.policy.clone(),
            file: Some(rule.file.clone()).filter(|file| !file.is_empty()),
            line: Some(rule.line).filter(|line| *line > 0),
            hits: rule.hits,
            holds: rule.holds,
            approved: rule.approved,
            rejected: rule.rejected,
            lapsed: rule.lapsed,
            median_ms: rule.median_ms,
            last: Some(rule.last.clone()),
            watched: rule.watched,
            would_hold: rule.would_hold,
            would_deny: rule.would_deny,
            may_allow: rule.may_allow,
            unknown: rule.unknown,
            hint: rule.hint.clone(),
        });
        let rules = rules.collect();
        self.send(&Notice::Rules { seq, rules }).await
    }

    pub(super) async fn explain(&mut self, seq: u64, id: &CallId) -> Result<(), Ended> {
        let Some(hold) = self.control.gate.holds().find(id) else {
            return self.failed(seq, Failure::NotFound, "there is no such hold".to_owned()).await;
        };
        let excerpts = match self.control.gate.explain(&hold).await {
            Ok(excerpts) => excerpts,
            Err(why) => return self.failed(seq, Failure::Unavailable, why).await,
        };
        let line =
            |line: crate::gate::ExcerptLine| ExcerptLine { number: line.number, text: line.text, held: line.held };
        let excerpts = excerpts.into_iter().map(|excerpt| Excerpt {
            rule: excerpt.rule,
            file: excerpt.file,
            lines: excerpt.lines.into_iter().map(line).collect(),
        });
        let excerpts = excerpts.collect();
        self.send(&Notice::Explained { seq, excerpts }).await
    }
}
