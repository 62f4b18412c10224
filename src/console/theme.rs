//! Colours: by default the sixteen that every theme of a terminal defines, and only beside a word or a sign that says the
//! same.

use std::str::FromStr;

use ratatui::style::{Color, Modifier, Style};

/// A set of colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Theme {
    /// The terminal's own sixteen colours, dim text by the terminal's own means.
    #[default]
    Auto,
    /// The same for a light background: dim text is dark grey.
    Light,
    /// The same for a dark background: dim text is light grey.
    Dark,
    /// Nothing is dim.
    HighContrast,
    /// No colour at all.
    Mono,
    /// Colours that most eyes tell apart, by Okabe and Ito; for terminals with 24 bits.
    OkabeIto,
}

impl Theme {
    pub const ALL: [(&'static str, Theme); 6] = [
        ("auto", Theme::Auto),
        ("light", Theme::Light),
        ("dark", Theme::Dark),
        ("high-contrast", Theme::HighContrast),
        ("mono", Theme::Mono),
        ("okabe-ito", Theme::OkabeIto),
    ];

    fn with(self, style: Style, colour: Color, okabe_ito: Color) -> Style {
        match self {
            Theme::Auto | Theme::Light | Theme::Dark | Theme::HighContrast => style.fg(colour),
            Theme::Mono => style,
            Theme::OkabeIto => style.fg(okabe_ito),
        }
    }

    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub fn chrome(self) -> Style {
        self.dim()
    }

    /// Production, and nothing else.
    pub fn live(self) -> Style {
        let reversed = Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED);
        self.with(reversed, Color::Magenta, Color::Rgb(0xcc, 0x79, 0xa7))
    }

    pub fn test(self) -> Style {
        self.with(Style::new(), Color::Cyan, Color::Rgb(0x56, 0xb4, 0xe9))
    }

    pub fn badge(self, production: bool) -> Style {
        if production { self.live() } else { self.test() }
    }

    pub fn warning(self) -> Style {
        self.with(Style::new().add_modifier(Modifier::BOLD), Color::Yellow, Color::Rgb(0xe6, 0x9f, 0x00))
    }

    pub fn label(self) -> Style {
        self.dim()
    }

    /// A question in one line.
    pub fn ask(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED)
    }

    /// Dim and not grey, where the background is not known: in some themes the grey of the sixteen colours is that.
    pub fn dim(self) -> Style {
        match self {
            Theme::Auto | Theme::Mono | Theme::OkabeIto => Style::new().add_modifier(Modifier::DIM),
            Theme::Light => Style::new().fg(Color::DarkGray),
            Theme::Dark => Style::new().fg(Color::Gray),
            Theme::HighContrast => Style::new(),
        }
    }

    /// What is behind a question, or no longer true.
    pub fn behind(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }
}

impl FromStr for Theme {
    type Err = String;

    fn from_str(name: &str) -> Result<Theme, String> {
        let found = Theme::ALL.iter().find(|(known, _)| *known == name).map(|(_, theme)| *theme);
        let names = Theme::ALL.map(|(name, _)| name).join(", ");
        found.ok_or_else(|| format!("there is no theme {name:?}; there are {names}"))
    }
}

/// When colours are used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Colour {
    /// Unless the environment says otherwise.
    #[default]
    Auto,
    Always,
    Never,
}

impl Colour {
    /// Whether to use colours, by what the environment says: `NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE`.
    pub fn wanted(self, variable: impl Fn(&str) -> Option<String>) -> bool {
        let set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
        match self {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto if set("NO_COLOR") => false,
            Colour::Auto if variable("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty() && value != "0") => true,
            Colour::Auto => variable("CLICOLOR").is_none_or(|value| value != "0"),
        }
    }
}

impl FromStr for Colour {
    type Err = String;

    fn from_str(name: &str) -> Result<Colour, String> {
        match name {
            "auto" => Ok(Colour::Auto),
            "always" => Ok(Colour::Always),
            "never" => Ok(Colour::Never),
            other => Err(format!("{other:?} is none of auto, always, never")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_whether_there_are_colours() {
        let wanted = |colour: Colour, set: &[(&str, &str)]| {
            colour.wanted(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
        };
        assert!(wanted(Colour::Auto, &[]));
        assert!(!wanted(Colour::Auto, &[("NO_COLOR", "1")]));
        assert!(wanted(Colour::Auto, &[("NO_COLOR", "")]));
        assert!(!wanted(Colour::Auto, &[("CLICOLOR", "0")]));
        assert!(wanted(Colour::Auto, &[("CLICOLOR", "0"), ("CLICOLOR_FORCE", "1")]));
        assert!(!wanted(Colour::Auto, &[("CLICOLOR", "0"), ("CLICOLOR_FORCE", "0")]));
        assert!(!wanted(Colour::Auto, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")]));
        assert!(wanted(Colour::Always, &[("NO_COLOR", "1")]));
        assert!(!wanted(Colour::Never, &[("CLICOLOR_FORCE", "1")]));
    }
}
