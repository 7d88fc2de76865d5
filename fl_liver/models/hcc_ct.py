"""Hepatocellular carcinoma or not on multiphase CT, slice by slice; NoduleNet and HCCNet are this one network.

Wang et al., Eur Radiol Exp? 
"""
