//! `top`: workers by fault domain, alive, with what they use, and keys to act on them.

mod columns;
mod log;
mod shares;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState};
use ratatui::{DefaultTerminal, Frame};
use supervision::FaultDomain;

use self::columns::{COLUMNS, NAME_LEAST, fitting};
use self::log::Log;
use self::shares::Shares;
use super::Exit;
use super::exit::report;
use super::harmless::harmless;
use super::output::{has_colour, say, width};
use super::status::{Mood, memory, mood, note, shown_phase, switches};
use super::table::{pack, wrap};
use crate::config::Kind;
use crate::control::client::{Client, ClientError};
use crate::control::protocol::{Done, StatusReport, WorkerStatus};

/// The keys and what they do.
const KEYS: [&str; 6] = ["s start", "x stop", "r restart", "p pause", "l logs", "q quit"];
/// One more while there is something to close.
const CLOSE: &str = "Esc close";

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Seconds between two looks.
    #[arg(short, long, default_value_t = 1.0, value_parser = interval)]
    interval: f64,
}

fn interval(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds, such as 0.5")?;
    if (0.1..=60.0).contains(&seconds) { Ok(seconds) } else { Err("from 0.1 to 60 seconds".into()) }
}

pub(super) fn run(options: &Options, client: &Client) -> Exit {
    if !std::io::stdout().is_terminal() {
        eprintln!(
            "supervisord-rs: top needs a terminal; `status --json` has the same figures for \
             machines"
        );
        return Exit::Usage;
    }
    let mut top = match Top::new(client) {
        Ok(top) => top,
        Err(error) => return report(&error),
    };
    // The library obeys `NO_COLOR` by itself, also against `--color always`.
    ratatui::crossterm::style::force_color_output(has_colour());
    let mut terminal = ratatui::init();
    let result = top.show(&mut terminal, Duration::from_secs_f64(options.interval));
    ratatui::restore();
    match result {
        Ok(()) => Exit::Done,
        Err(error) => {
            say(&error.to_string());
            Exit::Failed
        }
    }
}

/// What is shown.
struct Top<'a> {
    client: &'a Client,
    report: StatusReport,
    shares: Shares,
    state: TableState,
    /// The answer to the last order.
    message: String,
    /// Why the last look shows nothing new.
    trouble: String,
    /// What the chosen worker has written, where it is shown.
    log: Option<Log>,
}

impl<'a> Top<'a> {
    fn new(client: &'a Client) -> Result<Self, ClientError> {
        let report = client.status_with_usage()?;
        let mut top = Self {
            client,
            report,
            shares: Shares::default(),
            state: TableState::default().with_selected(0),
            message: String::new(),
            trouble: String::new(),
            log: None,
        };
        top.sort();
        Ok(top)
    }

    fn show(&mut self, terminal: &mut DefaultTerminal, interval: Duration) -> std::io::Result<()> {
        loop {
            self.read_log();
            terminal.draw(|frame| self.draw(frame))?;
            if event::poll(interval)? {
                match event::read()? {
                    Event::Key(key) if key.kind == KeyEventKind::Press && !self.on_key(key) => {
                        return Ok(());
                    }
                    _ => {}
                }
            }
            self.look();
        }
    }

    fn look(&mut self) {
        match self.client.status_with_usage() {
            Ok(report) => {
                self.report = report;
                self.trouble.clear();
                self.sort();
                self.shares.look(&self.report, Instant::now());
            }
            // It may be on its way back: a fault in a thread of it is what this product is about.
            Err(error) => self.trouble = error.to_string(),
        }
    }

    /// By domain, the supervisor's own first; the order of the configuration within.
    fn sort(&mut self) {
        self.report.workers.sort_by_key(|worker| match domain_of(worker) {
            FaultDomain::Supervisor => (0, String::new()),
            FaultDomain::Shared => (1, worker.domain.clone()),
            FaultDomain::Own => (2, String::new()),
        });
    }

    fn chosen(&self) -> Option<&WorkerStatus> {
        self.report.workers.get(self.state.selected()?)
    }

    /// False when it is enough.
    fn on_key(&mut self, key: KeyEvent) -> bool {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return false;
        }
        match key.code {
            KeyCode::Esc if self.log.is_some() => self.log = None,
            KeyCode::Esc if !self.message.is_empty() => self.message.clear(),
            KeyCode::Char('q') => return false,
            KeyCode::Down | KeyCode::Char('j') => self.state.select_next(),
            KeyCode::Up | KeyCode::Char('k') => self.state.select_previous(),
            KeyCode::Char('l') => self.log = self.log.is_none().then(Log::default),
            KeyCode::Char('s') => self.order(|client, worker| client.start(worker, false)),
            KeyCode::Char('x') => self.order(|client, worker| client.stop(worker, false)),
            KeyCode::Char('r') => self.order(|client, worker| client.restart(worker, false)),
            KeyCode::Char('p') if self.chosen().is_some_and(|worker| worker.paused) => {
                self.order(|client, worker| client.resume(worker));
            }
            KeyCode::Char('p') => self.order(|client, worker| client.pause(worker)),
            _ => {}
        }
        true
    }

    fn order(&mut self, order: impl Fn(&Client, &[String]) -> Result<Done, ClientError>) {
        let Some(name) = self.chosen().map(|worker| worker.name.clone()) else { return };
        self.message = match order(self.client, &[name]) {
            Ok(done) => done.message,
            Err(error) => error.to_string(),
        };
    }

    fn draw(&mut self, frame: &mut Frame<'_>) {
        let log_height = self.log.as_ref().map_or(0, |_| log::HEIGHT);
        let foot_lines = self.foot(frame.area().width.into());
        let [head, body, log, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Min(3),
            Constraint::Length(log_height),
            Constraint::Length(u16::try_from(foot_lines.len()).unwrap_or(u16::MAX)),
        ])
        .areas(frame.area());
        frame.render_widget(Paragraph::new(self.headline()), head);
        let table = self.table(body.width);
        frame.render_stateful_widget(table, body, &mut self.state);
        if let Some(shown) = &self.log {
            frame.render_widget(Paragraph::new(shown.lines()), log);
        }
        let foot_lines: Vec<Line<'_>> =
            foot_lines.into_iter().map(|line| Line::from(line.dim())).collect();
        frame.render_widget(Paragraph::new(foot_lines), foot);
    }

    /// The keys, and below them why there is nothing new, and the last message, whole.
    fn foot(&self, room: usize) -> Vec<String> {
        let is_open = self.log.is_some() || !self.message.is_empty();
        let keys = KEYS.into_iter().chain(is_open.then_some(CLOSE));
        let mut lines = pack(keys.map(str::to_owned), "  ", room);
        let said = [&self.trouble, &self.message];
        lines.extend(said.into_iter().flat_map(|text| wrap(&harmless(text), room)));
        lines
    }

    fn headline(&self) -> Line<'static> {
        let up = self.report.workers.iter().filter(|worker| worker.phase == "running").count();
        let own = self
            .report
            .supervisor
            .usage
            .as_ref()
            .and_then(|usage| usage.pss_kib)
            .map_or_else(String::new, |pss| format!(", {} of its own", memory(pss)));
        Line::from(format!(
            "supervisor {} ({}){own}: {up} of {} running",
            self.report.supervisor.pid,
            self.report.supervisor.phase,
            self.report.workers.len()
        ))
        .bold()
    }

    fn table(&self, room: u16) -> Table<'static> {
        let names = self.report.workers.iter().map(|worker| width(&worker.name)).max();
        let notes = self.report.workers.iter().map(|worker| width(&note(worker))).max();
        let [names, notes] = [names, notes]
            .map(|longest| u16::try_from(longest.unwrap_or(0)).unwrap_or(u16::MAX).max(NAME_LEAST));
        let (shown, names) = fitting(room, names, notes);
        let mut last = String::new();
        let rows = self.report.workers.iter().map(|worker| {
            let domain = match domain_of(worker) {
                FaultDomain::Supervisor => "supervisor".to_owned(),
                FaultDomain::Shared => format!("cell {}", worker.domain),
                FaultDomain::Own => String::new(),
            };
            let first = if domain == last { String::new() } else { domain.clone() };
            last = domain;
            let cells = self.row(worker, first).into_iter().enumerate();
            Row::new(cells.filter(|(index, _)| shown.contains(index)).map(|(_, cell)| cell))
        });
        let rows: Vec<Row<'static>> = rows.collect();
        let header = Row::new(shown.iter().map(|&index| COLUMNS[index].0));
        let widths = shown.iter().map(|&index| match COLUMNS[index].0 {
            "WORKER" => Constraint::Length(names),
            "NOTE" => Constraint::Fill(1),
            _ => Constraint::Length(COLUMNS[index].1),
        });
        Table::new(rows, widths)
            .header(header.style(Style::new().add_modifier(Modifier::BOLD)))
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
    }

    fn row(&self, worker: &WorkerStatus, domain: String) -> [Cell<'static>; 13] {
        let usage = worker.usage.as_ref();
        let number =
            |figure: Option<u64>| figure.map_or_else(|| "-".into(), |figure| figure.to_string());
        let percent =
            |share: Option<f64>| share.map_or_else(|| "-".into(), |share| format!("{share:.1}"));
        let share = self.shares.of(&worker.name);
        [
            domain.into(),
            worker.name.clone().into(),
            Cell::from(shown_phase(worker).to_owned()).style(Style::new().fg(colour(worker))),
            number(worker.pid.and_then(|pid| u64::try_from(pid).ok())).into(),
            percent(share.map(|share| share.run)).into(),
            percent(share.and_then(|share| share.waited)).into(),
            usage
                .and_then(|usage| usage.pss_kib.or(usage.rss_kib))
                .map_or_else(|| "-".into(), memory)
                .into(),
            number(usage.map(|usage| usage.threads)).into(),
            number(usage.and_then(|usage| usage.fds)).into(),
            usage.map_or_else(|| "-".into(), switches).into(),
            number(usage.and_then(|usage| usage.last_cpu).map(u64::from)).into(),
            worker.restarts.to_string().into(),
            note(worker).into(),
        ]
    }

    fn read_log(&mut self) {
        let chosen = self.state.selected().and_then(|row| self.report.workers.get(row));
        if let (Some(log), Some(worker)) = (&mut self.log, chosen) {
            log.read(self.client, worker);
        }
    }
}

fn colour(worker: &WorkerStatus) -> Color {
    if !has_colour() {
        return Color::Reset;
    }
    match mood(worker) {
        Mood::Good => Color::Green,
        Mood::AtRest => Color::DarkGray,
        Mood::OnTheWay => Color::Yellow,
        Mood::Bad => Color::Red,
    }
}

/// Who shares the domain of a worker.
fn domain_of(worker: &WorkerStatus) -> FaultDomain {
    let kind = Kind::by_name(&worker.isolation);
    kind.map_or(FaultDomain::Own, |kind| kind.capabilities.fault_domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_take_as_many_lines_as_they_need() {
        let packed = |room| pack(KEYS.map(str::to_owned), "  ", room);
        assert_eq!(packed(80).len(), 1);
        let narrow = packed(40);
        assert!(narrow.iter().all(|line| line.len() <= 40), "{narrow:?}");
        assert!(KEYS.iter().all(|key| narrow.join("\n").contains(key)), "{narrow:?}");
    }
}
