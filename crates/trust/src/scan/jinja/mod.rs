//! Chat templates: parsed, and judged by what they reach for.
//!
//! A template is a program in Jinja. Programs that render it in a sandbox refuse most of what is looked for here; those
//! that do not, run it (CVE-2024-34359). Names are judged after constants are joined, so that `'__cla' ~ 'ss__'` is what
//! it says.

mod fold;
mod judge;
mod lex;
mod parse;
mod reach;
mod words;

pub(super) use judge::judge;
