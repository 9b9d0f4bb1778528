"""The enumerable task, and estimators by name, for all tests of `harness diagnose`."""

from __future__ import annotations

import dataclasses

import pytest

from harness.diagnose.estimators import Candidate, all_candidates
from harness.diagnose.groups import all_groups, batches, sharing
from harness.diagnose.mdp import ORDERS, make_mdp
from harness.diagnose.measure import exact_mean


@pytest.fixture(scope="session")
def mdp():
    return make_mdp(3, scale=1.5)


@pytest.fixture(scope="session")
def groups(mdp):
    return all_groups(mdp)


@pytest.fixture(scope="session", params=ORDERS)
def ordered(request):
    """The same task in every order."""
    return make_mdp(3, scale=1.5, order=request.param)


@pytest.fixture(scope="session")
def candidate():
    """Finds the estimator of that name, perhaps with other options of its method."""

    def find(name, options="", size=0, baseline=None, **changes):
        (found,) = (
            item
            for item in all_candidates()
            if (item.name, item.estimator.options, item.estimator.size) == (name, options, size)
            and baseline in (None, item.estimator.baseline)
        )
        method = found.estimator.method
        changed = dataclasses.replace(method, config=dataclasses.replace(method.config, **changes))
        return Candidate(name=name, estimator=dataclasses.replace(found.estimator, method=changed))

    return find


@pytest.fixture(scope="session")
def mean_estimate():
    """The mean of the scaled estimates (D,), exact."""

    def mean(mdp, groups, one):
        assert one.estimator.outcomes or not one.estimator.sampled
        return one.estimator.scale * exact_mean(mdp, batches(mdp, groups, sharing(mdp, groups, one).key), one)

    return mean


@pytest.fixture(scope="session")
def relative_bias(mean_estimate):
    """Distance of the mean estimate from the gradient, in lengths of the gradient."""

    def bias(mdp, groups, one):
        exact_D = mdp.exact_gradient().flatten()
        return float((mean_estimate(mdp, groups, one) - exact_D).norm() / exact_D.norm())

    return bias
