//! Colours: the sixteen that every theme of a terminal defines, and only beside a word or a sign that says the same.

use ratatui::style::{Color, Modifier, Style};

#[derive(Clone, Copy, Debug)]
pub struct Theme {
    pub colour: bool,
}

impl Theme {
    fn with(self, style: Style, colour: Color) -> Style {
        if self.colour { style.fg(colour) } else { style }
    }

    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Dim and not grey: in some themes the grey of the sixteen colours is the background.
    pub fn chrome(self) -> Style {
        self.dim()
    }

    /// Production, and nothing else.
    pub fn live(self) -> Style {
        self.with(Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED), Color::Magenta)
    }

    pub fn test(self) -> Style {
        self.with(Style::new(), Color::Cyan)
    }

    pub fn badge(self, production: bool) -> Style {
        if production { self.live() } else { self.test() }
    }

    pub fn warning(self) -> Style {
        self.with(Style::new().add_modifier(Modifier::BOLD), Color::Yellow)
    }

    pub fn label(self) -> Style {
        self.dim()
    }

    /// A question in one line.
    pub fn ask(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED)
    }

    pub fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }
}
