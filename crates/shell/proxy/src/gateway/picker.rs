//! Which endpoint the next connection goes to: by priority, then by weight, then in turn.

use super::place::Place;

/// Of a hundred connections, one goes to an endpoint of weight zero where others have a weight.
const WEIGHTLESS_OF: u64 = 100;

/// Chooses, and knows who is down.
#[derive(Debug)]
pub struct Picker {
    candidates: Vec<Candidate>,
    turn: usize,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    priority: u16,
    weight: u16,
    is_active: bool,
}

impl Picker {
    /// All are taken for reachable.
    pub fn new(places: &[Place]) -> Picker {
        let candidate = |place: &Place| Candidate {
            priority: place.priority,
            weight: place.weight,
            is_active: true,
        };
        Picker { candidates: places.iter().map(candidate).collect(), turn: 0 }
    }

    /// The number of a place; `None` when all are down. `dice` is any number nobody foresees.
    pub fn pick(&mut self, dice: u64) -> Option<usize> {
        let active = || self.candidates.iter().enumerate().filter(|(_, one)| one.is_active);
        let best = active().map(|(_, one)| one.priority).min()?;
        let of_best = || active().filter(move |(_, one)| one.priority == best);
        let total: u64 = of_best().map(|(_, one)| u64::from(one.weight)).sum();
        let weightless: Vec<usize> =
            of_best().filter(|(_, one)| one.weight == 0).map(|(place, _)| place).collect();
        let by_turn = total == 0 || dice.is_multiple_of(WEIGHTLESS_OF);
        if by_turn && !weightless.is_empty() {
            self.turn = self.turn.wrapping_add(1);
            return weightless.get(self.turn % weightless.len()).copied();
        }
        let mut left = (dice / WEIGHTLESS_OF) % total.max(1);
        for (place, one) in of_best() {
            match left.checked_sub(one.weight.into()) {
                Some(less) => left = less,
                None => return Some(place),
            }
        }
        None
    }

    /// A place is down, or up again; whether that is news.
    pub fn set_active(&mut self, place: usize, is_active: bool) -> bool {
        let Some(one) = self.candidates.get_mut(place) else { return false };
        let is_news = one.is_active != is_active;
        one.is_active = is_active;
        is_news
    }

    /// The places that are down.
    pub fn down(&self) -> Vec<usize> {
        let down = self.candidates.iter().enumerate().filter(|(_, one)| !one.is_active);
        down.map(|(place, _)| place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picker(places: &[(u16, u16)]) -> Picker {
        let candidate = |(priority, weight): &(u16, u16)| Candidate {
            priority: *priority,
            weight: *weight,
            is_active: true,
        };
        Picker { candidates: places.iter().map(candidate).collect(), turn: 0 }
    }

    fn shares(picker: &mut Picker, count: u64) -> Vec<u64> {
        let mut shares = vec![0; picker.candidates.len()];
        for dice in 0..count {
            shares[picker.pick(dice).expect("somebody is up")] += 1;
        }
        shares
    }

    #[test]
    fn without_weights_each_has_its_turn() {
        assert_eq!(shares(&mut picker(&[(0, 0), (0, 0), (0, 0)]), 300), [100, 100, 100]);
    }

    #[test]
    fn weights_are_kept_and_who_has_none_gets_one_of_a_hundred() {
        assert_eq!(shares(&mut picker(&[(0, 3), (0, 1)]), 40_000), [30_000, 10_000]);
        assert_eq!(shares(&mut picker(&[(0, 1), (0, 0)]), 10_000), [9_900, 100]);
    }

    #[test]
    fn a_worse_priority_is_taken_only_when_all_of_the_better_are_down() {
        let mut picker = picker(&[(2, 5), (1, 1), (1, 1)]);
        assert_eq!(shares(&mut picker, 400), [0, 200, 200]);
        assert!(picker.set_active(1, false) && !picker.set_active(1, false));
        assert_eq!(shares(&mut picker, 400), [0, 0, 400]);
        picker.set_active(2, false);
        assert_eq!(picker.down(), [1, 2]);
        assert_eq!(shares(&mut picker, 400), [400, 0, 0]);
        picker.set_active(0, false);
        assert_eq!(picker.pick(7), None);
        picker.set_active(1, true);
        assert_eq!(picker.pick(7), Some(1));
    }
}
