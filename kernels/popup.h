// Edge-popup's choice of the weights that a network uses, kept up from step to step.
//
// Few scores cross the threshold in a step. A bracket around it stays as it is for as long as the threshold lies within: a step then
// needs to rank only what lies in it, and to write only what lay or lies there, or crossed it.
#pragma once

#include "primitives.h"

namespace secateur {

// Uses the `count` candidates of largest |score|, of equal ones those of the lower position; others are zero. `guess`, whose `above` is
// not read, is tried first. Returns where the threshold lies.
template <class T>
Bracket<T> popup_choose(const Popup<T>& popup, const Bracket<T>& guess, int threads);

// A step, and the choice after it, or, where nothing is used any more, magnitudes in place of scores. `bracket` is what the last call returned.
template <class T>
Bracket<T> popup_step(const Popup<T>& popup, const PopupStep<T>& step, const Bracket<T>& bracket, int threads);

}  // namespace secateur
