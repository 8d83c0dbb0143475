"""NannyML's univariate drift (Jensen-Shannon) and its data reconstruction, one chunk a window, with their defaults."""

import nannyml


def compare(reference, window):
    columns = list(reference.columns)
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=columns, continuous_methods=["jensen_shannon"], chunk_size=len(window)
    )
    frame = calculator.fit(reference).calculate(window).filter(period="analysis").to_df()
    drifted = {c for c in columns if bool(frame[(c, "jensen_shannon", "alert")].any())}
    pca = nannyml.DataReconstructionDriftCalculator(column_names=columns, chunk_size=len(window))
    alerts = pca.fit(reference).calculate(window).filter(period="analysis").to_df()
    if bool(alerts[("reconstruction_error", "alert")].any()):
        drifted.add("(multivariate)")
    return drifted
