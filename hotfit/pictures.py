"""The pictures of a fit as its methods; `hotfit.plots` and `hotfit.closeups` draw them."""


class Pictures:
    """One method a picture: each takes matplotlib axes or makes new ones, and returns them."""

    def plot_histogram(self, *, ax=None):
        """Dark current by exposure, as the histogram of the CCD Guide; see `hotfit.plots.plot_histogram`."""
        from hotfit import plots

        return plots.plot_histogram(self, ax=ax)

    def plot_short_long(self, *, limit: float | None = None, ax=None):
        """Dark current, longest against shortest exposure; see `hotfit.plots.plot_short_long`."""
        from hotfit import plots

        return plots.plot_short_long(self, limit=limit, ax=ax)

    def plot_cumulative(self, *, ax=None):
        """Pixels above each rate; see `hotfit.plots.plot_cumulative`."""
        from hotfit import plots

        return plots.plot_cumulative(self, ax=ax)

    def plot_map(self, *, ax=None):
        """The dark-current map with the mask on it; see `hotfit.plots.plot_map`."""
        from hotfit import plots

        return plots.plot_map(self, ax=ax)

    def plot_statistics(self, *, ax=None):
        """p-values against their expectation; see `hotfit.plots.plot_statistics`."""
        from hotfit import plots

        return plots.plot_statistics(self, ax=ax)

    def plot_frames(self, *, quantity: str = "scale", against: str = "temperature", ax=None):
        """Offset or scale of frames against time, temperature ...; see `hotfit.closeups.plot_frames`."""
        from hotfit import closeups

        return closeups.plot_frames(self, quantity=quantity, against=against, ax=ax)

    def plot_pixel(self, y: int, x: int, *, ax=None):
        """Counts of one pixel against time, with its fit; see `hotfit.closeups.plot_pixel`."""
        from hotfit import closeups

        return closeups.plot_pixel(self, y, x, ax=ax)

    def plot_residuals(self, y: int, x: int, *, ax=None):
        """What the line of one pixel leaves, in sigmas; see `hotfit.closeups.plot_residuals`."""
        from hotfit import closeups

        return closeups.plot_residuals(self, y, x, ax=ax)
