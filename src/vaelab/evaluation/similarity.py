"""How near the reconstructions are to the images: PSNR and SSIM."""

import torch

from vaelab.evaluation.subject import Found, Subject, mean_and_error

KERNEL = 11  # pixels along each side of the window of SSIM (Wang et al., 2004)


@torch.no_grad()
def similarity(subject: Subject) -> Found:
    """PSNR in dB and SSIM of the mean of p(x|z) at z of zero noise, beside the pixels as the model sees them.

    Means over the images, each of which has a PSNR of its own. SSIM is left out where images are smaller than its
    window of 11 x 11 pixels.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim  # takes seconds to import

    psnr_of, ssim_of = [], []
    for x, y in subject.batches():
        found = subject.model.reconstruct(x, y)
        squared = (found - x).square().flatten(1).mean(1).clamp(min=1e-10)  # a perfect image has 100 dB
        psnr_of.append(-10 * squared.log10())
        if min(x.shape[2:]) >= KERNEL:
            ssim_of.append(ssim(found, x, data_range=1.0, reduction="none").reshape(-1))
    both = {"psnr": mean_and_error(torch.cat(psnr_of))}
    if ssim_of:
        both["ssim"] = mean_and_error(torch.cat(ssim_of))
    metrics, errors = ({name: value[i] for name, value in both.items()} for i in (0, 1))
    setting = f"reconstructions beside {subject.dataset.pixel_kind} pixels"
    left_out = {} if ssim_of else {"ssim": f"needs images of {KERNEL} x {KERNEL} pixels at least"}
    return Found(metrics, errors, setting=setting, left_out=left_out)
