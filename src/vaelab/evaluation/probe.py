"""How well a linear classifier tells the labels from the latents."""

import torch

from vaelab.evaluation.subject import Found, LeftOutError, Subject, check_finite, mean_and_error

MOST_ROUNDS = 1000  # of L-BFGS; some tens are enough for latents of one scale


def probe(subject: Subject) -> Found:
    """Accuracy on the split of a logistic regression on z at zero noise, fitted to the images trained on.

    Each dimension is scaled to variance one first; the weights are regularised as in scikit-learn.
    """
    train = subject.dataset.train
    if train.labels is None or subject.split.labels is None:
        raise LeftOutError("needs labels, which the dataset has not")
    if len(train.labels.unique()) < 2:
        raise LeftOutError("needs labels of two kinds at least")
    check_finite(subject.embedded_train, subject.embedded)
    from sklearn.linear_model import LogisticRegression  # takes a second to import
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MOST_ROUNDS))
    classifier.fit(subject.embedded_train.numpy(), train.labels.numpy())
    found = classifier.predict(subject.embedded.numpy())
    right = torch.from_numpy(found == subject.split.labels.numpy())
    accuracy, error = mean_and_error(right)
    setting = f"logistic regression on z of {len(train.images):,} training images"
    return Found({"probe_accuracy": accuracy}, {"probe_accuracy": error}, setting=setting)
